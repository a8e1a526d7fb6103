"""Every AWS request names the application in its user agent."""

from chalicelib.aws import session


def test_every_request_names_the_application(engine, pipeline):
    named: list[str] = []

    def gate(attempt):
        agent = attempt.request.headers["User-Agent"]
        named.append(agent.decode() if isinstance(agent, bytes) else agent)
        return attempt.carry_out()

    engine.gate = gate
    pipeline.increment()
    pipeline.deliver()

    assert pipeline.value == 1
    assert [agent for agent in named if session.USER_AGENT not in agent] == []
