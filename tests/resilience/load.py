"""
Send load with faults to the deployed system.

    python -m tests.resilience.load --events N --seed S

Clients send increments while functions are killed, requests and responses are lost or throttled, and the embedded AWS
is shut down and restarted. In the end, exactly the acknowledged increments are counted.

The seed determines the increments and the faults. The machine determines their interleaving, so a second run is similar
but not identical. Two settings of the projection queue differ from the template's to save time: a message is
redelivered after 5 seconds instead of 180, and moves to the dead-letter queue after 3 deliveries instead of 20. In the
end, dead letters are sent back, as the runbook describes.
"""

import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import click

from chalicelib import settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.local import stack
from tests import conftest  # noqa: F401  (sets the system's folder and ports)
from tests.resilience import chaos
from tests.resilience.chaos import Chaos, Fault
from tests.resilience.clients import Clients, UnexpectedError, Way, Wish, wishes
from tests.resilience.deployed import System, client, versions
from tests.resilience.invariant import Watcher

EVENTS = 20_000
CLIENTS = 8
RESTARTS = 2

_PROGRESS_EVERY_S = 10
_LINES_OF_DIFFERENCES = 20


def send(system: System, clients: Clients, seed: int, events: int) -> None:
    """
    Send this number of increments from all clients, until each is answered, and restart the system in between.

    Raises:
        AssertionError, UnexpectedError: an invariant is broken, or a client gets an answer that it should not get.
    """
    shares = [wishes(seed, number, len(range(number, events, CLIENTS))) for number in range(CLIENTS)]
    stops = [events * number // (RESTARTS + 1) for number in range(1, RESTARTS + 1)]
    began = reported_at = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            jobs = {pool.submit(clients.new().send_all, share) for share in shares}
            while jobs:
                done, jobs = wait(jobs, 0.2, FIRST_EXCEPTION)
                for job in done:
                    job.result()
                if time.monotonic() > reported_at + _PROGRESS_EVERY_S:
                    reported_at = time.monotonic()
                    click.echo(f"{reported_at - began:5.0f} s  {_progress(system, clients, events)}")
                if stops and clients.total("answered") >= stops[0]:
                    del stops[0]
                    click.echo(f"{time.monotonic() - began:5.0f} s  restarting the embedded AWS")
                    system.stop()
                    system.start()
        except BaseException:
            clients.stopping.set()
            raise


def differences(client: Any, acknowledged: Mapping[Wish, str], watchers: Mapping[str, Watcher]) -> list[str]:
    """Return a line for each difference between the tables and the acknowledged increments."""
    wrong: list[str] = []
    sent: dict[str, dict[str, int]] = defaultdict(dict)
    for wish, event_id in acknowledged.items():
        if event_id in sent[wish.counter_id]:
            wrong.append(f"{wish.counter_id}: two increments were acknowledged as one, {event_id}")
        sent[wish.counter_id][event_id] = wish.by
    for counter_id in sorted({*sent, *_logged(client), *versions(client)}):
        watcher = watchers.get(counter_id, Watcher(client, counter_id))
        watcher.acknowledged = list(sent[counter_id])
        try:
            watcher.check_in_the_end()
        except AssertionError as error:
            wrong.append(str(error))
        in_log = {event["event_id"]["S"]: int(event["by"]["N"]) for event in watcher.events()}
        wrong += [
            f"{counter_id}: event {event_id} has the amount {in_log.get(event_id)} in the log, "
            f"and {sent[counter_id].get(event_id)} among the acknowledged increments"
            for event_id in sorted({event_id for event_id, _ in in_log.items() ^ sent[counter_id].items()})
        ]
    return wrong


def shortfalls(system: System) -> list[str]:
    """Return a line for each fault that did not occur in the run, and a line if a restart is missing."""
    happened = system.chaos.happened
    found = [
        f"no {function} {fault.value}" for function in chaos.DECKS for fault in Fault if not happened[function, fault]
    ]
    return [*found, *([] if system.starts == RESTARTS + 1 else ["the embedded AWS was not stopped and started"])]


def _logged(client: Any) -> set[str]:
    pages = client("dynamodb").get_paginator("scan").paginate(TableName=settings.current().event_log_table)
    return {item["partition"]["S"] for page in pages for item in page["Items"]}


def _progress(system: System, clients: Clients, events: int) -> str:
    return f"{clients.total('answered')} of {events} answered, {clients.total('retried')} retried, {_faults(system)}"


def _result(system: System, clients: Clients, took_s: float) -> str:
    return (
        f"{len(clients.acknowledged)} acknowledged and {clients.total('refused')} swaps refused, "
        f"{clients.total('retried')} retried, {clients.total('given_up')} answers not waited for, "
        f"{clients.total('sent_again')} sent again when acknowledged; {_faults(system)}; "
        f"{system.starts - 1} restarts; {system.sent_back} messages sent back, {len(system.parked)} parked; "
        f"{took_s:.0f} s"
    )


def _faults(system: System) -> str:
    happened = system.chaos.happened
    deaths = {name: sum(happened[name, fault] for fault in chaos.DEATHS) for name in chaos.DECKS}
    requests = {fault: sum(happened[name, fault] for name in chaos.DECKS) for fault in chaos.REPEATABLE}
    return (
        f"{sum(deaths.values())} function deaths ({', '.join(f'{name} {number}' for name, number in deaths.items())}), "
        f"requests that {', '.join(f'{fault.value} {number}' for fault, number in requests.items())}"
    )


def prove(system: System, seed: int, events: int) -> list[str]:
    """
    Run the load, print the progress, and return a line for each finding.

    Raises:
        OperatorError: the system does not start or stop.
    """
    began = time.monotonic()
    clients = Clients(seed, lambda: system.api_url)
    wrong: list[str] = []
    try:
        system.start()
        send(system, clients, seed, events)
        system.chaos.pause()
        # The stream is in order: once the last event is counted, the stream delivers no other.
        clients.new().send_all([Wish("last", "last", 1, Way.PLAIN)])
    except (AssertionError, UnexpectedError) as error:
        return [str(error)]
    click.echo("All increments are answered; waiting until all are counted ...")
    try:
        system.settle(len(clients.acknowledged))
    except AssertionError:
        wrong.append("the queues do not become empty, or fewer events are counted than were acknowledged")
    wrong += differences(client, clients.acknowledged, system.watchers)
    wrong += [f"parked: {message}" for message in system.parked]
    click.echo(_result(system, clients, time.monotonic() - began))
    return wrong or shortfalls(system)


@click.command(help=__doc__)
@click.option(
    "--events", default=EVENTS, show_default=True, type=click.IntRange(min=1000), help="Number of increments."
)
@click.option("--seed", default=1, show_default=True, help="Seed of increments and faults.")
def main(events: int, seed: int) -> None:
    if not chaos.can_kill():
        raise click.ClickException("The load test requires Linux: it finds the process of a connection in /proc.")
    folder = Path(os.environ["LOCAL_FOLDER"])
    scratch = folder / "scratch"
    scratch.mkdir()
    os.environ |= {
        "STAGE": stages.LOCAL_STAGE,  # the stage that is deployed completely
        "TMPDIR": str(scratch),  # where functions are unpacked; killed functions leave their files there
    }
    place = stack.LocalSystem(folder, int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"]))
    system = System(place, Chaos(place.aws_port, seed))
    click.echo(f"{events} increments with seed {seed}; starting the whole system in {folder} ...")
    try:
        wrong = prove(system, seed, events)
    except OperatorError as error:
        wrong = [str(error)]
    finally:
        system.stop_for_good()
    if wrong:
        for line in wrong[:_LINES_OF_DIFFERENCES]:
            click.echo(f"  {line}", err=True)
        click.echo(f"BROKEN with seed {seed}: {len(wrong)} differences; {folder} is kept", err=True)
        sys.exit(1)
    shutil.rmtree(folder)
    click.echo(f"Every acknowledged increment is counted, and nothing else (seed {seed}).")


if __name__ == "__main__":
    main()
