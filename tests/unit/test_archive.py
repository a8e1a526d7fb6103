"""Test the pure rules of counting: after any deliveries, each event has exactly one entry, in the right order."""

import itertools
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.aws.dynamodb import RawItem
from chalicelib.domain import archive
from chalicelib.domain.archive import (
    ENTRIES_PER_PLAN,
    KEEP_MS,
    KEPT_MAX,
    KEPT_MIN,
    PAGE_MAX,
    PAGES_PER_PLAN,
    RECENT_MAX,
    Addition,
    Archiving,
    Page,
    PageMissingError,
)
from chalicelib.domain.counter import NOTHING_ARCHIVED, Part, PartKey
from chalicelib.domain.entries import Entry, encode_entry
from chalicelib.read_model import items
from testkit import aws_requests

KEY = PartKey("clicks")

#: DynamoDB's limit for a transaction. A swap also appends the event in the same transaction.
MOST_MEMBERS = 100


@dataclass
class Model:
    """A part and its pages in memory, which execute plans as DynamoDB does: completely or not at all."""

    part: Part = field(default_factory=lambda: Part(KEY))
    pages: dict[int, Page] = field(default_factory=dict)

    def execute(self, plan: archive.Plan | None) -> None:
        if plan is None:
            return
        part = self.part
        if isinstance(plan, Addition):
            assert not plan.entries & part.recent
            assert len(part.recent) + len(plan.entries) <= RECENT_MAX
            assert all(entry.recorded_at_ms > part.archived_until_ms for entry in plan.entries)
            part = replace(part, recent=part.recent | plan.entries)
        else:
            assert len({page.end_ms for page in plan.pages}) == len(plan.pages)
            for page in plan.pages:
                there = self.pages.get(page.end_ms)
                assert (there.revision if there else None) == page.revision_before
                self.pages[page.end_ms] = Page(
                    page.start_ms, page.end_ms, (page.revision_before or 0) + 1, page.entries
                )
            if plan.revision is not None:
                assert plan.revision == part.revision
                assert plan.archived_until_ms >= part.archived_until_ms
                part = replace(part, recent=plan.recent, archived_until_ms=plan.archived_until_ms)
        self.part = replace(
            part,
            value=part.value + sum(entry.amount for entry in plan.entries),
            version=part.version + len(plan.entries),
            revision=part.revision + 1,
        )

    def count(self, entries: set[Entry] | frozenset[Entry], now_ms: int) -> archive.Plan | None:
        plan = archive.plan(self.part, sorted(self.pages.values(), key=lambda page: page.end_ms), entries, now_ms)
        self.execute(plan)
        return plan

    @property
    def entries(self) -> list[Entry]:
        return [*self.part.recent, *(entry for page in self.pages.values() for entry in page.entries)]

    def check(self) -> None:
        part, entries = self.part, self.entries
        assert len(entries) == len(set(entries))
        assert (part.value, part.version) == (sum(entry.amount for entry in entries), len(entries))
        assert len(part.recent) <= RECENT_MAX
        assert all(entry.recorded_at_ms > part.archived_until_ms for entry in part.recent)
        before_ms = -1
        for page in sorted(self.pages.values(), key=lambda page: page.end_ms):
            assert list(page.entries) == sorted(page.entries)
            assert all(before_ms < entry.recorded_at_ms <= page.end_ms for entry in page.entries)
            before_ms = page.end_ms
        assert before_ms == part.archived_until_ms


def an_entry(recorded_at_ms: int, number: int = 0, amount: int = 1) -> Entry:
    return Entry(recorded_at_ms, number.to_bytes(16, "big"), amount)


def an_archive(pages: int, entries: int, step_ms: int = 10) -> Model:
    """Return a part with this number of pages of this number of entries, `step_ms` apart."""
    model = Model()
    for number in range(pages):
        first_ms = number * entries * step_ms
        held = tuple(an_entry(first_ms + n * step_ms) for n in range(entries))
        model.pages[held[-1].recorded_at_ms] = Page(max(model.pages, default=-1), held[-1].recorded_at_ms, 1, held)
    model.part = Part(
        KEY, value=pages * entries, version=pages * entries, archived_until_ms=max(model.pages), revision=1
    )
    return model


#: Several times in one millisecond, times several seconds apart, and occasionally a clock that is hours off.
moments = st.integers(0, 40) | st.integers(0, 20_000) | st.sampled_from([10_000_000, 10_000_001])
entries = st.builds(an_entry, moments, st.integers(0, 3), st.sampled_from([1, 2, -3]))


@given(st.lists(st.lists(entries, max_size=60, unique_by=lambda entry: entry[:2]), max_size=12), st.randoms())
def test_deliveries_in_any_order_leave_one_entry_per_event(batches, chance):
    """Batches overlap and repeat, and workers' clocks differ."""
    known = {entry[:2]: entry for batch in batches for entry in batch}
    deliveries = [frozenset(known[entry[:2]] for entry in batch) for batch in batches for _ in range(2)]
    chance.shuffle(deliveries)
    model, counted = Model(), set[Entry]()
    for delivered in deliveries:
        plan = model.count(delivered, chance.choice([0, 10_000, 20_000, 30_000]))
        model.check()

        assert (plan.entries if plan else set()) == delivered - counted
        assert (plan is None) == (delivered <= counted)
        counted |= delivered

    assert set(model.entries) == counted == set(known.values())


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_late_events_split_pages_and_keep_one_entry_each(seed):
    chance = random.Random(seed)
    model = Model()
    events = [an_entry(chance.randrange(3_000), number) for number in range(6_000)]
    for start in range(0, len(events), 1_500):
        model.count(frozenset(events[start : start + 1_500]), now_ms=10_000)
        model.check()

    assert set(model.entries) == set(events)
    assert model.count(frozenset(events[:ENTRIES_PER_PLAN]), now_ms=10_000) is None
    assert len(model.pages) > 6_000 // PAGE_MAX


def test_entries_that_fit_are_added_without_archiving():
    model = Model()
    batch = frozenset(an_entry(ms) for ms in range(RECENT_MAX))

    assert model.count(batch, now_ms=10**9) == Addition(batch)
    assert model.part.archived_until_ms == NOTHING_ARCHIVED


def test_entry_that_does_not_fit_archives_in_the_same_plan():
    model = Model()
    model.count(frozenset(an_entry(ms) for ms in range(RECENT_MAX)), now_ms=10**9)

    plan = model.count({an_entry(RECENT_MAX)}, now_ms=10**9)

    assert isinstance(plan, Archiving)
    assert plan.entries == {an_entry(RECENT_MAX)}
    assert len(plan.pages) == 1
    model.check()


@pytest.mark.parametrize(
    ("new", "kept"), [(1, KEPT_MAX), (20, KEPT_MAX), (28, 8), (RECENT_MAX - KEPT_MIN, KEPT_MIN), (1_000, KEPT_MIN)]
)
def test_young_entries_stay_recent_if_the_next_batch_fits(new, kept):
    """A next batch of the same size must fit, but even after a large batch, a minimum of entries stays recent."""
    now_ms = 10**6
    model = Model()
    model.execute(Addition(frozenset(an_entry(now_ms - 1_000 + n) for n in range(RECENT_MAX))))
    batch = frozenset(an_entry(now_ms + n) for n in range(new))

    model.count(batch, now_ms)

    assert sorted(model.part.recent) == sorted(model.entries)[-kept:]
    model.check()


def test_an_entry_stays_recent_for_five_seconds():
    now_ms = 1_000_000
    model = Model()
    model.execute(Addition(frozenset(an_entry(n) for n in range(RECENT_MAX))))

    model.count({an_entry(now_ms - KEEP_MS), an_entry(now_ms - KEEP_MS + 1)}, now_ms)

    assert model.part.recent == {an_entry(now_ms - KEEP_MS + 1)}
    assert model.part.archived_until_ms == now_ms - KEEP_MS


def test_entries_of_one_millisecond_are_archived_together():
    model = Model()
    batch = frozenset(an_entry(5, number) for number in range(500))

    model.count(batch, now_ms=0)

    assert [page.end_ms for page in model.pages.values()] == [5]
    assert model.part.recent == frozenset()
    model.check()


def test_late_entry_alone_does_not_change_recent_entries():
    """Otherwise, it would conflict with workers that add recent entries."""
    model = an_archive(pages=2, entries=100)
    model.execute(Addition(frozenset([an_entry(10**6)])))

    plan = model.count({an_entry(5)}, now_ms=10**6)

    assert isinstance(plan, Archiving)
    assert (plan.revision, [(page.end_ms, page.revision_before) for page in plan.pages]) == (None, [(990, 1)])
    model.check()


def test_late_entries_and_new_ones_are_counted_in_one_plan():
    model = an_archive(pages=2, entries=100)

    plan = model.count({an_entry(5), an_entry(10**6)}, now_ms=10**6)

    assert isinstance(plan, Archiving)
    assert (plan.revision, plan.recent) == (1, frozenset([an_entry(10**6)]))
    model.check()


def test_a_page_that_grows_too_large_is_split_and_keeps_its_end():
    model = an_archive(pages=3, entries=PAGE_MAX)

    plan = model.count({an_entry(PAGE_MAX * 10 + 5)}, now_ms=0)

    assert isinstance(plan, Archiving)
    first, last = plan.pages
    assert (first.revision_before, last.revision_before) == (None, 1)
    assert last.end_ms == PAGE_MAX * 2 * 10 - 10
    assert abs(len(first.entries) - len(last.entries)) <= 1
    model.check()


def test_a_page_keeps_an_end_that_is_later_than_its_entries():
    model = an_archive(pages=1, entries=10)
    model.pages = {500: Page(-1, 500, 7, model.pages[90].entries)}
    model.part = replace(model.part, archived_until_ms=500)

    plan = model.count({an_entry(95)}, now_ms=0)

    assert isinstance(plan, Archiving)
    assert [(page.end_ms, page.revision_before) for page in plan.pages] == [(500, 7)]
    model.check()


def test_time_that_no_page_covers_is_an_error_with_that_time():
    model = an_archive(pages=2, entries=10)
    del model.pages[max(model.pages)]

    with pytest.raises(PageMissingError, match="covers the time 150"):
        model.count({an_entry(150, number=1)}, now_ms=0)


def test_late_entries_are_not_recent_and_not_later_than_the_archive():
    recent, new, late, later = an_entry(101), an_entry(102), an_entry(100), an_entry(7)
    part = Part(KEY, 1, 1, frozenset([recent]), archived_until_ms=100, revision=1)

    assert archive.late_entries(part, [recent, late, new, later]) == [later, late]


@given(st.lists(st.integers(0, 400), max_size=900))
@example([7] * 900)
@example(list(range(PAGE_MAX)))
@example(list(range(PAGE_MAX + 1)))
def test_split_keeps_entries_of_one_millisecond_in_one_page(times):
    ordered = sorted(an_entry(ms, number) for number, ms in enumerate(times))

    chunks = archive.split_by_time(ordered)

    assert [entry for chunk in chunks for entry in chunk] == ordered
    assert len(chunks) <= -(-len(ordered) // PAGE_MAX)
    for chunk, following in itertools.pairwise(chunks):
        assert chunk[-1].recorded_at_ms < following[0].recorded_at_ms
    for chunk in chunks:
        assert len([entry for entry in chunk if entry.recorded_at_ms < chunk[-1].recorded_at_ms]) < PAGE_MAX


@pytest.mark.parametrize("same_ms", [1, 2, 150, 201, 402, 1_000])
@pytest.mark.parametrize("late_in", [1, 20, PAGES_PER_PLAN])
def test_the_largest_plans_fit_into_a_transaction(same_ms, late_in):
    """Late entries go into as many full pages as allowed. The last millisecond of each page has `same_ms` entries."""
    model = Model()
    for number in range(PAGES_PER_PLAN):
        first_ms = number * 10_000
        held = [an_entry(first_ms + n * 10) for n in range(PAGE_MAX - 1)]
        held += [an_entry(first_ms + 9_000, n) for n in range(same_ms)]
        model.pages[held[-1].recorded_at_ms] = Page(
            max(model.pages, default=-1), held[-1].recorded_at_ms, 1, tuple(held)
        )
    held_by_all = [entry for page in model.pages.values() for entry in page.entries]
    model.part = Part(KEY, len(held_by_all), len(held_by_all), archived_until_ms=max(model.pages), revision=RECENT_MAX)
    model.execute(Addition(frozenset(an_entry(10**6 + n) for n in range(RECENT_MAX))))
    late = [an_entry(page * 10_000 + 1 + n) for page in range(late_in) for n in range(0, 8_990, 10)][::late_in]
    batch = {*late[: ENTRIES_PER_PLAN - 37], *(an_entry(2 * 10**6 + n) for n in range(37))}
    assert len(batch) <= ENTRIES_PER_PLAN

    plan = model.count(batch, now_ms=10**9)

    assert isinstance(plan, Archiving)
    assert len(plan.pages) + 2 <= MOST_MEMBERS
    model.check()


@pytest.mark.parametrize("amount", [1, 63, -64])
def test_an_item_full_of_small_amounts_costs_one_unit(amount):
    entries = frozenset(an_entry(253_402_300_799_000 + n, number=2**127 + n, amount=amount) for n in range(RECENT_MAX))
    item: RawItem = {
        "counter_id": {"S": "x" * 64},
        "part": {"N": "63"},
        "value": {"N": "-123456789012"},
        "version": {"N": "123456789012"},
        "recent": {"BS": [encode_entry(entry) for entry in entries]},
        "archived_until": {"N": "1700000000123"},
        "revision": {"N": "123456789012"},
        "amended": {"N": "123456789012"},
        "updated_at": {"N": "1700000000123"},
    }

    assert items.decode_part(item).recent == entries
    assert aws_requests.size(item) <= 1024
