"""Run the operators' commands on a stage with both projections."""

import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from chalicelib import event_log, settings
from chalicelib.aws import sqs
from chalicelib.errors import QueueUnavailableError
from chalicelib.extras.sql import read_model
from chalicelib.projections import READ_MODEL, SQL
from ops import stages
from ops.__main__ import main
from ops.cli.errors import OperatorError
from ops.maintenance import projections, rebuild, redrive, replay, verify
from ops.maintenance.dead_letters import Selection
from testkit import aws_requests, faults
from testkit.builders import a_counter_id, an_event, message_body, stream_note, stream_record

#: Times at which no other test's events are recorded.
A_TIME_MS = 1_134_567_890_000


def log_events(pipeline, number):
    events = [an_event(counter_id=pipeline.counter_id, by=2**n) for n in range(number)]
    for event in events:
        event_log.append(event)
    return events


def run_replay(pipeline, folder, *chosen, dry_run=False):
    current = settings.current()
    selection = replay.Selection([pipeline.counter_id], projections=[one.name for one in chosen or current.projections])
    memory = replay.locate_checkpoint(folder, current.stage, selection)
    return replay.replay(current, selection, 1000, memory, dry_run=dry_run)


def park(queue, body, reason="too new", source="projection queue"):
    return sqs.send(queue, body, {"reason": reason, "source": source} if reason else None)


def run_redrive(*chosen, ids=(), dry_run=False, **options):
    return redrive.redrive(settings.current(), Selection(ids, projections=chosen, **options), dry_run=dry_run)


def test_stage_with_sql_has_both_projections(second):
    without = settings.read({"STAGE": "dev"})

    assert projections.select(settings.current()) == (READ_MODEL, SQL)
    assert projections.select(settings.current(), ["sql"]) == (SQL,)
    assert projections.select(without) == (READ_MODEL,)
    with pytest.raises(OperatorError, match="Stage dev has no projection sql"):
        projections.select(without, ["sql"])


def test_replay_is_sent_to_each_queue_or_the_chosen_one(pipeline, second, tmp_path):
    body = message_body(*sorted(log_events(pipeline, 3), key=lambda event: event.event_id))

    both = run_replay(pipeline, tmp_path)
    after_both = pipeline.published(), second.published()
    selected = run_replay(pipeline, tmp_path, SQL)
    after_selected = pipeline.published(), second.published()

    assert after_both == ([body], [body])
    assert after_selected == ([], [body])
    expected = {"events": 3, "messages": 1, "unreadable": 0, "resumed_after": 0}
    assert both.facts == {**expected, "sql": expected, "dry_run": False}
    assert selected.facts == {"sql": expected, "dry_run": False}
    assert both.text.startswith(
        "3 events were sent to the projection queue and to the SQL projection queue in 1 message each."
    )


def test_dry_replay_sends_nothing_to_either_queue(pipeline, second, tmp_path):
    log_events(pipeline, 3)

    done = run_replay(pipeline, tmp_path, dry_run=True)

    assert (done.facts["events"], done.facts["sql"]["events"], done.facts["dry_run"]) == (3, 3, True)
    assert (pipeline.published(), second.published()) == ([], [])


def test_replay_to_one_projection_does_not_resume_the_other(pipeline, second, tmp_path, monkeypatch):
    log_events(pipeline, 3)
    monkeypatch.setattr(replay, "_AT_ONCE", 1)
    attempts = []

    def drop_from_third(attempt):
        attempts.append(attempt)
        return attempt.carry_out() if len(attempts) < 3 else faults.drop_request(attempt)

    with faults.inject("SendMessage", drop_from_third, faults.ALWAYS), pytest.raises(QueueUnavailableError):
        run_replay(pipeline, tmp_path)
    pipeline.published()
    second.published()
    selected = run_replay(pipeline, tmp_path, SQL)
    selected_bodies = second.published()
    again = run_replay(pipeline, tmp_path)

    assert (selected.facts["sql"]["resumed_after"], len(selected_bodies)) == (0, 3)
    assert (again.facts["resumed_after"], again.facts["sql"]["resumed_after"]) == (1, 1)
    assert (len(pipeline.published()), len(second.published())) == (2, 2)
    assert list(tmp_path.glob("replay-*")) == []


def test_redrive_returns_dead_letters_to_their_own_projection(pipeline, second):
    first, other = (message_body(an_event(counter_id=pipeline.counter_id, by=by)) for by in (1, 2))
    names = settings.current()
    park(READ_MODEL.dead_letter_queue(names.stage), first)
    park(SQL.dead_letter_queue(names.stage), other, source="SQL projection queue")
    park(SQL.dead_letter_queue(names.stage), other, reason=None)

    listed = run_redrive(dry_run=True)
    done = run_redrive()

    assert (pipeline.published(), second.published()) == ([first], [other, other])
    assert (pipeline.parked(), second.parked()) == ([], [])
    assert (done.facts["sent"], done.facts["left"], done.facts["sql"]["sent"], done.facts["sql"]["left"]) == (
        1,
        0,
        2,
        0,
    )
    assert [message["queue"] for message in done.facts["messages"]] == [READ_MODEL.dead_letter_queue(names.stage)]
    assert {message["queue"] for message in done.facts["sql"]["messages"]} == {SQL.dead_letter_queue(names.stage)}
    assert "  on the dead-letter queue, " in listed.text
    assert listed.text.count("  on the SQL dead-letter queue, ") == 2
    assert "from the SQL projection queue: failed too often" in listed.text
    assert listed.text.endswith(
        "Nothing was sent: this was a dry run. On the dead-letter queue: 1. On the SQL dead-letter queue: 2."
    )


def test_redrive_of_one_projection_leaves_the_others_dead_letters(pipeline, second):
    first, other = (message_body(an_event(counter_id=pipeline.counter_id, by=by)) for by in (1, 2))
    names = settings.current()
    park(READ_MODEL.dead_letter_queue(names.stage), first)
    park(SQL.dead_letter_queue(names.stage), other)

    done = run_redrive(SQL)

    assert (done.facts["sql"]["sent"], done.facts.keys()) == (1, {"sql"})
    assert (pipeline.published(), second.published()) == ([], [other])
    assert [letter["Body"] for letter in pipeline.parked()] == [first]


def test_redrive_by_id_searches_both_dead_letter_queues(pipeline, second):
    names = settings.current()
    park(READ_MODEL.dead_letter_queue(names.stage), "the first's")
    letter = park(SQL.dead_letter_queue(names.stage), "the other's")

    done = run_redrive(ids=[letter])

    assert (done.facts["sent"], done.facts["sql"]["sent"]) == (0, 1)
    assert (pipeline.published(), second.published()) == ([], ["the other's"])
    with pytest.raises(OperatorError, match="matches no message"):
        run_redrive(ids=[letter])
    assert len(pipeline.parked()) == 1


def test_discarded_stream_batch_is_sent_to_both_projections(pipeline, second):
    """Send it to both even if the operator chooses one of them."""
    event = an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS)
    event_log.append(event)
    park(READ_MODEL.dead_letter_queue(settings.current().stage), stream_note(A_TIME_MS, A_TIME_MS), reason=None)

    done = run_redrive(READ_MODEL)

    assert [letter["sent_as"] for letter in done.facts["messages"]] == ["1 event of the log"]
    assert (pipeline.published(), second.published()) == ([message_body(event)], [message_body(event)])
    assert pipeline.parked() == []


def test_parked_stream_record_reaches_both_projections_once(pipeline, second):
    record = stream_record(an_event(counter_id=pipeline.counter_id), eventName="MODIFY")
    pipeline.publish([record])

    with aws_requests.record() as requests:
        done = run_redrive()

    assert requests.operations.count("SendMessage") == 2
    assert (done.facts["sent"], done.facts["sql"]["sent"]) == (1, 1)
    assert [[json.loads(body) for body in bodies] for bodies in (pipeline.published(), second.published())] == [
        [record],
        [record],
    ]
    assert (pipeline.parked(), second.parked()) == ([], [])


def test_record_parked_before_the_second_projection_reaches_it_too(pipeline, second):
    body = json.dumps(stream_record(an_event(counter_id=pipeline.counter_id)))
    park(READ_MODEL.dead_letter_queue(settings.current().stage), body, source="event log stream")

    run_redrive()

    assert (pipeline.published(), second.published()) == ([body], [body])


def test_redrive_limit_applies_to_both_queues_together(pipeline, second):
    names = settings.current()
    for queue in (READ_MODEL.dead_letter_queue(names.stage), SQL.dead_letter_queue(names.stage)):
        park(queue, "one")

    first, again = run_redrive(max_messages=1), run_redrive(max_messages=2)

    assert (first.facts["sent"], first.facts["sql"]["sent"], first.holds) == (1, 0, False)
    assert (again.facts["sent"], again.facts["sql"]["sent"], again.holds) == (0, 1, True)
    assert (pipeline.published(), second.published()) == (["one"], ["one"])


def test_redrive_interrupted_on_the_second_queue_releases_both(pipeline, second):
    names = settings.current()
    for queue in (READ_MODEL.dead_letter_queue(names.stage), SQL.dead_letter_queue(names.stage)):
        park(queue, "one")

    def interrupt_on_second(attempt):
        if SQL.dead_letter_queue(names.stage) in str(attempt.request.body):
            raise KeyboardInterrupt
        return attempt.carry_out()

    with faults.inject("ReceiveMessage", interrupt_on_second, faults.ALWAYS), pytest.raises(KeyboardInterrupt):
        run_redrive()

    assert (len(pipeline.parked()), len(second.parked())) == (1, 1)


def count_events(pipeline, number=3):
    """Append events to the log and count them in both projections."""
    events = log_events(pipeline, number)
    pipeline.count(*events)
    read_model.count(events)
    return events


def run_verify(pipeline, *chosen):
    return verify.verify(settings.current(), (pipeline.counter_id,), 0, waits=False, selected=chosen)


def test_verify_of_a_projection_without_a_comparison_is_refused(pipeline, second, monkeypatch):
    """Verify no other projection in its place."""
    monkeypatch.delitem(projections.MAINTENANCE, SQL.name)

    for chosen in ((SQL,), ()):
        with pytest.raises(OperatorError, match="must support verify, got sql"):
            run_verify(pipeline, *chosen)


def test_rebuild_of_a_projection_without_a_repair_is_refused(pipeline, second, monkeypatch):
    """Repair nothing, not even the other projection."""
    log_events(pipeline, 1)
    without_repair = replace(projections.MAINTENANCE[SQL.name], repair=None)
    monkeypatch.setitem(projections.MAINTENANCE, SQL.name, without_repair)

    for chosen in ((SQL,), ()):
        with pytest.raises(OperatorError, match="must support rebuild, got sql"):
            rebuild.rebuild(settings.current(), (pipeline.counter_id,), chosen)
    assert pipeline.version == 0


def test_replay_to_a_projection_that_the_stage_lacks_is_refused(pipeline, tmp_path):
    with pytest.raises(OperatorError, match="Stage pipeline has no projection sql"):
        run_replay(pipeline, tmp_path, SQL)


def test_verify_of_both_read_models_reads_the_log_once(pipeline, second):
    count_events(pipeline)

    with aws_requests.record() as requests:
        done = run_verify(pipeline)

    queries = [body for operation, body in requests.made if operation == "Query" and "event-log" in str(body)]
    assert len(queries) == 1
    expected = {"holds": True, "counters": 1, "events": 3, "pending": 0, "numbers": {}, "differences": []}
    assert done.facts == {**expected, "entries": 3, "sql": {**expected, "rows": 3}}
    assert done.text.splitlines() == [
        "1 counter, 3 events, 3 entries: the read model matches the log.",
        "SQL read model:",
        "1 counter, 3 events, 3 rows: the read model matches the log.",
    ]


def test_difference_in_either_projection_is_reported_with_its_name(pipeline, second):
    count_events(pipeline)
    second.database.ask("UPDATE counters SET value = 8")

    both, first, other = run_verify(pipeline), run_verify(pipeline, READ_MODEL), run_verify(pipeline, SQL)

    assert (both.holds, both.facts["holds"], both.facts["sql"]["holds"]) == (False, True, False)
    assert (first.holds, "sql" in first.facts) == (True, False)
    assert (other.holds, other.facts.keys(), other.facts["sql"]["events"]) == (False, {"sql"}, 3)
    assert "value too high: the value is 8, but the rows add up to 7" in both.text


def test_verify_of_the_whole_stage_compares_both_projections(pipeline, second):
    count_events(pipeline)
    event_log.append(an_event(counter_id=a_counter_id(), recorded_at_ms=time.time_ns() // 1_000_000))

    done = verify.verify(settings.current(), (), 3600, waits=False)

    differences = done.facts["sql"]["differences"]
    assert [entry for entry in differences if entry["counter_id"] == pipeline.counter_id] == []
    assert done.facts["sql"]["rows"] == 3
    assert done.facts["sql"]["events"] == done.facts["events"]


def run_rebuild(pipeline, *arguments):
    """Run the command for the pipeline's counter and return its result."""
    done = CliRunner().invoke(
        main, ["rebuild", "--stage", "pipeline", "--counter", pipeline.counter_id, "--json", *arguments]
    )
    assert done.stderr == "" or done.exit_code, done.stderr
    return done


@pytest.fixture
def second_on_command_line(second, monkeypatch):
    """Enable the second projection for the operators' CLI, in this process's environment."""
    monkeypatch.setattr(stages, "read_settings", lambda _: settings.current())
    variables = {"STAGE": "pipeline", "COUNTERS": "*", "SQL_URL": second.database.url}
    monkeypatch.setattr(stages, "read_environment", lambda _: variables)
    return second


@pytest.mark.parametrize(
    ("arguments", "first", "other"),
    [
        ((), {"event not counted": 1}, {"event not counted": 2, "value too high": 1}),
        (("--projection", "sql"), None, {"event not counted": 2, "value too high": 1}),
        (("--projection", "read-model"), {"event not counted": 1}, None),
    ],
)
def test_rebuild_repairs_each_projection_or_the_chosen_one(pipeline, second_on_command_line, arguments, first, other):
    events = log_events(pipeline, 3)
    pipeline.count(*events[1:])
    read_model.count(events)
    second_on_command_line.database.ask(f"DELETE FROM events WHERE event_id <> '{events[0].event_id}'")

    facts = json.loads(run_rebuild(pipeline, *arguments).stdout)

    assert facts.get("corrected") == first
    assert facts.get("sql", {}).get("corrected") == other
    assert second_on_command_line.database.counters() == {pipeline.counter_id: (7, 3)}
    assert len(second_on_command_line.database.event_ids()) == (3 if other else 1)


def test_dry_rebuild_reports_both_projections_and_corrects_nothing(pipeline, second_on_command_line):
    count_events(pipeline)
    log_events(pipeline, 1)

    listed = json.loads(run_rebuild(pipeline, "--dry-run").stdout)
    listed_second = json.loads(run_rebuild(pipeline, "--dry-run", "--projection", "sql").stdout)

    assert (listed["numbers"], listed["sql"]["numbers"]) == ({"event not counted": 1}, {"event not counted": 1})
    assert listed_second["sql"]["numbers"] == listed["sql"]["numbers"]
    assert (pipeline.version, second_on_command_line.database.counters()) == (3, {pipeline.counter_id: (7, 3)})


def test_rebuild_with_the_second_database_unusable_repairs_the_first(pipeline, second, tmp_path, monkeypatch, capsys):
    pipeline.count(*log_events(pipeline, 3)[1:])
    monkeypatch.setenv("SQL_OWNER_URL", f"sqlite:///{tmp_path}/empty.sqlite")

    with pytest.raises(OperatorError, match="has no tables"):
        rebuild.rebuild(settings.current(), (pipeline.counter_id,))

    assert pipeline.value == 7
    assert "1 event counted." in capsys.readouterr().err


def test_counter_that_only_the_second_projection_has_is_accepted(pipeline, second_on_command_line):
    read_model.count([an_event(counter_id=pipeline.counter_id)])

    first = run_rebuild(pipeline, "--projection", "read-model")
    other = run_rebuild(pipeline, "--projection", "sql")

    assert "No such counter" in first.stderr
    assert json.loads(other.stdout)["sql"]["corrected"] == {"row without an event": 1}
    assert second_on_command_line.database.counters() == {}
