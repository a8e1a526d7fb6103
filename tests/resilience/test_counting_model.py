"""The counting protocol in all states of small cases, and its known mistakes."""

import itertools
import random

import pytest

from tests.resilience.counting_model import BrokenError, Entry, Jump, Model, Page, State, amount

#: The number of cases of each kind, and the total number of their states. A different number means different coverage.
CASES = {"workers": 40, "full": 8, "clients": 30, "repair": 14}
STATES = {"workers": 68298, "full": 35999, "clients": 42721, "repair": 70226}


def some_events(chance, least, most):
    return [Entry(chance.randint(1, 4), number) for number in range(chance.randint(least, most))]


def explore_workers(model, chance):
    """Explore two or three workers with overlapping batches, some of them redelivered or with late events."""
    events = some_events(chance, 3, 4)
    model.old_until = chance.choice([0, 2, 9])
    batches = [chance.sample(events, chance.randint(1, len(events))) for _ in range(chance.choice([2, 2, 3]))]
    counted = random_archive(chance, some_numbers=10)
    workers = [Jump(model.count, (frozenset(batch), chance.random() < 0.3)) for batch in batches]
    log = frozenset().union(*batches, counted.log)
    model.explore(counted._replace(log=log), workers, deaths=len(batches) == 2)


def explore_clients(model, chance):
    """Explore two commands that count at once, the delivery of their events, and a worker."""
    model.at_version = 0
    model.old_until = chance.choice([0, 9])
    counted = random_archive(chance, some_numbers=10)
    model.at_version = counted.version
    first, second, third = (Entry(chance.randint(1, 4), number) for number in range(3))
    other = chance.choice([Jump(model.swap, (second,)), Jump(model.append_and_get, (second,))])
    worker = chance.choice([Jump(model.deliver, (first,)), Jump(model.count, (frozenset([third]), False))])
    log = counted.log | ({third} if worker.program == model.count else set())
    for swapped, other_swapped, _ in model.explore(
        counted._replace(log=log), [Jump(model.swap, (first,)), other, worker]
    ):
        if (swapped, other_swapped) == ("succeeded", "succeeded"):
            raise BrokenError("two swaps from one version succeeded")


def explore_repair(model, chance):
    """Explore a repair of a damaged read model next to one or two workers."""
    events = some_events(chance, 3, 4)
    model.old_until = chance.choice([0, 9])
    batches = [chance.sample(events, chance.randint(1, 3)) for _ in range(chance.choice([1, 1, 2]))]
    recorded = Entry(chance.randint(1, 4), 9)
    log = frozenset(events)
    bogus = [Entry(chance.randint(1, 4), 20 + number) for number in range(chance.randint(0, 2))]
    entries = frozenset(event for event in events if chance.random() < 0.5) | frozenset(bogus)
    start = archive_of(chance, entries)
    if chance.random() < 0.4:
        start = start._replace(value=start.value + chance.choice([-1, 1, 64]))
    others = [Jump(model.count, (frozenset(batch), False)) for batch in batches]
    if len(batches) == 1 and chance.random() < 0.5:
        others = [Jump(model.append_and_get, (recorded,))]
    model.explore(start._replace(log=log), [*others, Jump(model.repair, ())], is_damaged=True, deaths=len(batches) == 1)


def explore_full(model, chance):
    """
    Explore three workers on a full counter, or two on a full page.

    One worker archives, and the next event fills the counter again. A page that is split has as many entries as before.
    """
    model.old_until = 0
    times = sorted(chance.sample(range(1, 5), 2))
    before = frozenset(Entry(time, 10 + number) for number, time in enumerate(times))
    start = State(amount(before), 2, before, 0, 1)
    batches = [[Entry(chance.randint(1, 5), number)] for number in range(3)]
    if chance.random() < 0.5:
        page = frozenset([Entry(1, 10), Entry(6, 11)])
        start = State(amount(page), 2, frozenset(), 6, 1, (Page(0, 6, 1, page),))
        batches = [[Entry(2, 0), Entry(5, 1)], [chance.choice([Entry(2, 0), Entry(chance.randint(1, 6), 2)])]]
    log = frozenset().union(start.recent, *(page.entries for page in start.pages), *batches)
    workers = [Jump(model.count, (frozenset(batch), False)) for batch in batches]
    model.explore(start._replace(log=log), workers, deaths=len(batches) == 2)


def random_archive(chance, some_numbers):
    """Return a counter that has counted random events."""
    events = [Entry(chance.randint(1, 3), some_numbers + number) for number in range(chance.choice([0, 0, 2, 3]))]
    return archive_of(chance, frozenset(events))._replace(log=frozenset(events))


def archive_of(chance, entries):
    """Return a counter with these entries, the oldest of them archived in one or two pages."""
    if not entries:
        return State()
    until = chance.choice([0, *(entry.time for entry in entries)])
    until = min((until, *range(until, 5)), key=lambda time: (sum(entry.time > time for entry in entries) > 2, time))
    ends = sorted({chance.randint(1, until), until}) if until else []
    pages = tuple(
        Page(before, end, 1, frozenset(entry for entry in entries if before < entry.time <= end))
        for before, end in itertools.pairwise([0, *ends])
    )
    recent = frozenset(entry for entry in entries if entry.time > until)
    return State(amount(entries), len(entries), recent, until, 1, pages)


KINDS = {"workers": explore_workers, "full": explore_full, "clients": explore_clients, "repair": explore_repair}

#: Each mistake, and the kind of case that detects it.
MUTANTS = {
    "no contains condition": "workers",
    "no archived_until condition": "workers",
    "no page condition": "workers",
    "page size for revision": "full",
    "no counter revision": "workers",
    "size of recent for revision": "full",
    "archive without moving archived_until": "workers",
    "page not searched": "workers",
    "start of a page ignored": "full",
    "same times apart": "workers",
    "refusal taken for success": "workers",
    "no version condition": "clients",
    "log read before the pages": "repair",
    "totals at the first difference": "repair",
}


def explore(kind, mutant="", share=1):
    model = Model(mutant)
    for case in range(CASES[kind] // share):
        KINDS[kind](model, random.Random(f"{kind}/{case}"))
    return model.states


@pytest.mark.no_cover
@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", KINDS)
def test_every_state_of_small_cases_keeps_the_invariants(kind):
    states = explore(kind)

    print(f"{kind}: {CASES[kind]} cases, {states} states")  # noqa: T201  (for pytest -s)
    assert states == STATES[kind]


@pytest.mark.no_cover
@pytest.mark.sample(4)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistake_in_the_protocol_is_detected(mutant):
    with pytest.raises(BrokenError):
        explore(MUTANTS[mutant], mutant)


@pytest.mark.no_cover
@pytest.mark.sample(2)
@pytest.mark.parametrize("rule", ["no room condition", "new page without condition", "pages read before the counter"])
@pytest.mark.parametrize("kind", KINDS)
def test_model_without_an_optional_rule_loses_no_event(rule, kind):
    """
    Explore the model without rules that are not needed for safety.

    The limit of recent entries bounds the cost of a write. The revision already guards the end of a new page; the
    condition protects a damaged archive. Pages that were read before the counter are refused, or their starts show a
    gap.
    """
    assert explore(kind, rule, share=6) > 0
