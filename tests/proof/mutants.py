"""
Mistakes that people really make, each as a change of our own source, applied in memory while a test runs.

A mutant that no test catches is a hole in the proof. `python -m tests.proof.mutants` runs each with the test that
should catch it, and writes the table in docs/mutants.md.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

PROJECT = Path(__file__).parent.parent.parent
TABLE = PROJECT / "docs" / "mutants.md"


@dataclass(frozen=True)
class Mutant:
    """A mistake: in this module, `right` (which stands there once) becomes `wrong`; this test is to catch it."""

    mistake: str
    module: str
    right: str
    wrong: str
    catcher: str


CRASHES = "tests/proof/test_crash_points.py::test_at_every_request_of_a_scenario_a_fault_changes_no_total"
ORDERS = "tests/proof/test_interleavings.py"

MUTANTS = {
    "add-outside-transaction": Mutant(
        "The ADD to the counter is outside the transaction",
        "chalicelib.read_model",
        "    _add_to_counter(transaction, update, _now_ms(), condition=None)\n    try:\n        _commit(transaction)\n",
        "    apart = TransactWrite(connection=connection())\n"
        "    _add_to_counter(apart, update, _now_ms(), condition=None)\n"
        "    try:\n        _commit(transaction)\n        _commit(apart)\n",
        f"{CRASHES}[project, one event-the function dies after it]",
    ),
    "bucket-without-condition": Mutant(
        "The bucket is written without the condition that it is unchanged",
        "chalicelib.read_model",
        "condition=_is_unchanged(bucket)",
        "condition=None",
        f"{ORDERS}::test_two_projectors_with_overlapping_batches_in_every_order",
    ),
    "bucket-by-arrival": Mutant(
        "The bucket is that of the second in which the event arrives",
        "chalicelib.counting",
        "event.recorded_at_ms // 1000)",
        "__import__('time').time_ns() // 1000)",
        f"{CRASHES}[project, one event-the function dies after it]",
    ),
    "deduplicated-by-message": Mutant(
        "What was seen is told by the queue's message id, which is new at each send",
        "chalicelib.projector",
        "        understood, reasons = codec.from_message(body)\n",
        "        understood, reasons = codec.from_message(body)\n"
        "        import dataclasses, uuid\n"
        "        understood = [dataclasses.replace(event, event_id=str(uuid.uuid5(uuid.UUID(record['messageId']),\n"
        "            event.event_id))) for event in understood]\n",
        "tests/pipeline/test_counting_once.py::test_everything_delivered_again_later_changes_nothing",
    ),
    "conflict-swallowed": Mutant(
        "A conflict while counting is taken for done",
        "chalicelib.read_model",
        "        except ContendedError:\n            continue\n        return new\n",
        "        except ContendedError:\n            return new\n        return new\n",
        f"{ORDERS}::test_two_projectors_with_overlapping_batches_in_every_order",
    ),
    "batch-dropped": Mutant(
        "A whole batch is dropped when one of its ids is known",
        "chalicelib.counting",
        "    new = {event_id: event for event_id, event in events.items() if event_id not in counted}\n",
        "    new = {} if any(event_id in counted for event_id in events) else dict(events)\n",
        f"{ORDERS}::test_two_projectors_with_overlapping_batches_in_every_order",
    ),
    "success-before-put": Mutant(
        "Success is reported before the event is durable",
        "chalicelib.commands",
        "    appended = event_log.append(event)\n",
        "    try:\n        appended = event_log.append(event)\n"
        "    except Exception:\n        appended = event_log.Appended(event, again=False)\n",
        f"{CRASHES}[a plain increment-the request never arrives, however often]",
    ),
    "retry-taken-for-conflict": Mutant(
        "The SDK's retry, which finds the key taken by its own first attempt, is taken for a conflict",
        "chalicelib.event_log",
        "                    return Appended(recorded(event), again=True)\n",
        "                    raise KeyReusedError(event.counter_id, event.event_id) from error\n",
        f"{CRASHES}[a plain increment-the answer is lost, once]",
    ),
    "parked-before-counted": Mutant(
        "Parking comes first, so that its trouble keeps the neighbours from being counted",
        "chalicelib.projector",
        "    new = read_model.count(events)\n",
        "    parking.park(parked)\n    new = read_model.count(events)\n",
        "tests/pipeline/test_outages.py::"
        "test_a_broken_message_that_cannot_be_parked_comes_again_and_its_neighbours_are_counted_already",
    ),
    "version-checked-outside": Mutant(
        "The version of If-Match is checked outside the transaction",
        "chalicelib.read_model",
        "condition=_is_at(counter.version)",
        "condition=None",
        f"{ORDERS}::test_two_swaps_from_one_version_in_every_order",
    ),
    "append-unconditional": Mutant(
        "The append overwrites what is there",
        "chalicelib.event_log",
        "            _item(event).save(condition=EventItem.event_id.does_not_exist())\n",
        "            _item(event).save()\n",
        "tests/pipeline/test_commands.py::test_the_same_key_with_another_body_is_refused_and_changes_nothing",
    ),
    "key-without-counter": Mutant(
        "An idempotency key is the same increment on every counter",
        "chalicelib.commands",
        'f"{command.counter_id}/{command.idempotency_key}"',
        'f"{command.idempotency_key}"',
        "tests/pipeline/test_commands.py::test_the_same_key_on_another_counter_is_another_increment",
    ),
    "poison-raised": Mutant(
        "What is not understood is raised, so that it comes back for ever and its neighbours with it",
        "chalicelib.codec",
        "        except NotUnderstoodError as error:\n            reasons.append(error.reason)\n",
        "        except NotUnderstoodError:\n            raise\n",
        "tests/pipeline/test_poison.py::"
        "test_the_good_events_of_a_message_are_counted_and_the_message_is_parked_for_the_others",
    ),
    "poison-dropped": Mutant(
        "What is not understood is dropped",
        "chalicelib.publisher",
        "    parking.park(parked)\n",
        "",
        f"{CRASHES.rpartition('::')[0]}::test_a_scenario_makes_the_requests_that_are_disturbed"
        "[publish, a batch with poison]",
    ),
    "in-flight-doubled": Mutant(
        "A batch is not searched for what is in it twice",
        "chalicelib.counting",
        ".setdefault(event.event_id, event)",
        ".setdefault(str(id(object())) + str(len(counters[event.counter_id][bucket_of(event, shards)])), event)",
        "tests/rules/test_counting.py::test_an_event_that_is_twice_in_a_batch_is_added_once",
    ),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutated module where the right one is looked for."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        spec.loader = _Loader(self._mutant, spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant, name: str, path: str) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> object:  # type: ignore[override]  # noqa: ARG002  (the base class's)
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(self._mutant, source), self.path, "exec")


def mutated(mutant: Mutant, source: str) -> str:
    """The source with the mistake in it. That the right text stands there exactly once is part of the proof."""
    assert source.count(mutant.right) == 1, f"{mutant.module} does not hold this exactly once: {mutant.right!r}"
    return source.replace(mutant.right, mutant.wrong)


def is_caught(name: str) -> bool:
    """Whether the mutant's catcher fails with the mistake in place. (That it passes without is for the other tests.)"""
    mutant = MUTANTS[name]
    mutated(mutant, (PROJECT / f"{mutant.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.proof.mutants", mutant.catcher],
        cwd=PROJECT,
        env={**os.environ, "MUTANT": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), f"{name} could not be tried:\n{done.stdout}{done.stderr}"
    return done.returncode == 1


def table() -> str:
    """What docs/mutants.md says."""
    rows = [
        f"| {mutant.mistake} | `{mutant.module}` | `{mutant.catcher.partition('::')[2] or mutant.catcher}` |"
        for mutant in MUTANTS.values()
    ]
    head = [
        "# Mutants",
        "",
        "Mistakes that people really make in systems like this one. Each is put into our own source, in memory, and",
        "must be caught by the test beside it; `make mutants` tries them all and writes this table.",
        "",
        "| mistake | in | caught by |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


@click.command(help=__doc__)
def main() -> None:
    survivors = []
    for name in MUTANTS:
        caught = is_caught(name)
        click.echo(f"{'caught' if caught else 'SURVIVED'}  {name}")
        if not caught:
            survivors.append(name)
    click.echo(f"{len(MUTANTS)} mutants, {len(survivors)} survived")
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(), encoding="utf-8")
    sys.exit(1 if survivors else 0)


if name := os.environ.get("MUTANT"):
    sys.meta_path.insert(0, _Finder(MUTANTS[name]))

if __name__ == "__main__":
    main()
