"""A small counter in the read model, and every kind of damage to it."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from chalicelib import codec, event_log, settings
from chalicelib.domain.entries import Entry, encode_entry, encode_page, make_entry
from chalicelib.domain.events import Event, choose_part
from chalicelib.extras.verification import report as kinds
from testkit.builders import A_TIME_MS, a_counter_id, an_event
from testkit.engine import Engine

#: The numbers of entries per page, of pages, and of recent entries of the small counter.
IN_PAGE, PAGES, RECENT = 4, 3, 3

#: The part that is damaged, if there are several.
PART = 1

#: An amount that no event has.
WRONG = 500


@dataclass
class Stage:
    """
    One part of a counter: its events in the log, all of them counted, and its items, to be damaged.

    The items are put into the tables directly, not by the application's writers.
    """

    engine: Engine
    chance: random.Random
    counter_id: str = field(default_factory=a_counter_id)

    def __post_init__(self) -> None:
        number = IN_PAGE * PAGES + RECENT
        self.events = [self.event(10 * at) for at in range(number)]
        self.log(self.events)
        entries = [make_entry(event) for event in self.events]
        for start in range(0, IN_PAGE * PAGES, IN_PAGE):
            self.put_page(entries[start : start + IN_PAGE])
        self.put_item(entries[-RECENT:])

    def event(self, ms: int, by: int | None = None) -> Event:
        """Return a new event of this part, recorded this many ms after `A_TIME_MS`."""
        while True:
            amount = self.chance.randint(1, 99) if by is None else by
            event = an_event(counter_id=self.counter_id, by=amount, recorded_at_ms=A_TIME_MS + ms)
            if choose_part(event.event_id, settings.current().shards) == self.part:
                return event

    def log(self, events: Iterable[Event]) -> None:
        """Put events into the log."""
        puts = [
            {
                "PutRequest": {
                    "Item": {
                        "partition": {"S": self.partition},
                        **{
                            name: {"N": str(value)} if isinstance(value, int) else {"S": value}
                            for name, value in codec.encode_event(event).items()
                        },
                    }
                }
            }
            for event in events
        ]
        for start in range(0, len(puts), 25):
            self.client.batch_write_item(RequestItems={settings.current().event_log_table: puts[start : start + 25]})

    @property
    def client(self) -> Any:
        return self.engine.client("dynamodb")

    @property
    def part(self) -> int:
        return PART if settings.current().shards > 1 else 0

    @property
    def partition(self) -> str:
        return f"{self.counter_id}#{self.part}" if settings.current().shards > 1 else self.counter_id

    @property
    def entries(self) -> list[Entry]:
        """The entries of `events`, all of which are counted before the damage."""
        return [make_entry(event) for event in self.events]

    @property
    def recent(self) -> list[Entry]:
        return self.entries[-RECENT:]

    def page(self, number: int) -> list[Entry]:
        return self.entries[number * IN_PAGE : (number + 1) * IN_PAGE]

    def put_item(self, recent: list[Entry], /, **changes: Any) -> Self:
        """Put the item with these recent entries, and return the stage. A change of None removes an attribute."""
        item = {
            "counter_id": {"S": self.counter_id},
            "part": {"N": str(self.part)},
            "value": {"N": str(sum(entry.amount for entry in self.entries))},
            "version": {"N": str(len(self.entries))},
            "revision": {"N": "9"},
            "archived_until": {"N": str(self.page(PAGES - 1)[-1].recorded_at_ms)},
            "updated_at": {"N": str(A_TIME_MS)},
            **({"recent": {"BS": [encode_entry(entry) for entry in recent]}} if recent else {}),
        } | changes
        put = {name: value for name, value in item.items() if value is not None}
        self.client.put_item(TableName=settings.current().counters_table, Item=put)
        return self

    def put_page(self, entries: list[Entry], end_ms: int | None = None, /, **changes: Any) -> Self:
        """Put a page, and return the stage. A change of None removes an attribute."""
        end_ms = max(entries).recorded_at_ms if end_ms is None else end_ms
        ends_ms = [-1, *(self.page(number)[-1].recorded_at_ms for number in range(PAGES))]
        item = {
            "partition": {"S": self.partition},
            "end": {"N": str(end_ms)},
            "start": {"N": str(max(each for each in ends_ms if each < end_ms))},
            "entries": {"B": encode_page(sorted(entries))},
            "revision": {"N": "3"},
        } | changes
        put = {name: value for name, value in item.items() if value is not None}
        self.client.put_item(TableName=settings.current().archive_table, Item=put)
        return self

    def delete_item(self) -> None:
        key = {"counter_id": {"S": self.counter_id}, "part": {"N": str(self.part)}}
        self.client.delete_item(TableName=settings.current().counters_table, Key=key)

    def delete_page(self, number: int) -> None:
        end = self.page(number)[-1].recorded_at_ms
        key = {"partition": {"S": self.partition}, "end": {"N": str(end)}}
        self.client.delete_item(TableName=settings.current().archive_table, Key=key)

    def totals(self, by: int, number: int = 0) -> dict[str, Any]:
        """Return the attributes of totals that differ from the right ones by these numbers."""
        value, version = sum(entry.amount for entry in self.entries), len(self.entries)
        return {"value": {"N": str(value + by)}, "version": {"N": str(version + number)}}

    def value(self) -> int | None:
        """Return the value as a query would read it, or None if an item is damaged."""
        found = self.client.query(
            TableName=settings.current().counters_table,
            KeyConditionExpression="counter_id = :c",
            ExpressionAttributeValues={":c": {"S": self.counter_id}},
            ConsistentRead=True,
        )["Items"]
        try:
            return sum(int(item["value"]["N"]) for item in found if item["version"]["N"] and item["updated_at"]["N"])
        except (KeyError, ValueError):
            return None

    def logged(self) -> list[dict[str, Any]]:
        """Return the log's items of this part."""
        found: list[dict[str, Any]] = self.client.query(
            TableName=settings.current().event_log_table,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": "partition"},
            ExpressionAttributeValues={":p": {"S": self.partition}},
            ConsistentRead=True,
        )["Items"]
        return found


def empty_tables(engine: Engine) -> None:
    """Remove what other tests left in the tables."""
    client, names = engine.client("dynamodb"), settings.current()
    tables = {
        names.event_log_table: ("partition", "event_id"),
        names.counters_table: ("counter_id", "part"),
        names.archive_table: ("partition", "end"),
    }
    for table, key in tables.items():
        for page in client.get_paginator("scan").paginate(TableName=table):
            deletions = [{"DeleteRequest": {"Key": {name: item[name] for name in key}}} for item in page["Items"]]
            for start in range(0, len(deletions), 25):
                client.batch_write_item(RequestItems={table: deletions[start : start + 25]})


@dataclass(frozen=True)
class Damage:
    """
    A function that damages a stage, and the expected differences by kind.

    `rises`: during the repair, queries may see values that rise to the right one, because events are not counted, or a
    total cannot be read. `is_whole`: only a comparison of the whole stage finds the damage.
    """

    make: Callable[[Stage], object]
    found: dict[str, int]
    rises: bool = False
    is_whole: bool = False


def _changed(entries: list[Entry], at: int, **changes: Any) -> list[Entry]:
    return [entry._replace(**changes) if number == at else entry for number, entry in enumerate(entries)]


def _stranger(stage: Stage, ms: int) -> Entry:
    """Return an entry without an event."""
    return make_entry(stage.event(ms, by=WRONG))


def _loses_all(stage: Stage) -> None:
    stage.delete_item()
    for number in range(PAGES):
        stage.delete_page(number)


def _loses_pages(stage: Stage) -> None:
    for number in range(PAGES):
        stage.delete_page(number)


def _is_older(stage: Stage) -> None:
    """Put the item as it was before the last page was archived, as if it were restored from a backup."""
    before = stage.page(PAGES - 1)
    sums = -sum(entry.amount for entry in stage.recent)
    until = {"archived_until": {"N": str(stage.page(PAGES - 2)[-1].recorded_at_ms)}}
    stage.put_item(before, **stage.totals(sums, -RECENT), **until, revision={"N": "5"})


def _has_older_page(stage: Stage) -> None:
    stage.put_page(stage.page(1)[1:], revision={"N": "1"})


def _has_event_of_other_counter(stage: Stage) -> None:
    """Put an entry whose event belongs to another counter into the item."""
    other = replace(stage.event(1000, by=WRONG), counter_id=a_counter_id())
    event_log.append(other)
    stage.put_item([*stage.recent, make_entry(other)], **stage.totals(WRONG, 1))


def _has_no_events(stage: Stage) -> None:
    for item in stage.logged():
        key = {name: item[name] for name in ("partition", "event_id")}
        stage.client.delete_item(TableName=settings.current().event_log_table, Key=key)
    stage.events = []


def _unsorted(stage: Stage) -> bytes:
    first, second, *_ = stage.page(1)
    return encode_page([second, first._replace(recorded_at_ms=second.recorded_at_ms, id=bytes(16))])


def _raw(stage: Stage, number: int, **changes: Any) -> None:
    stage.put_page(stage.page(number), **changes)


def _item(**changes: Any) -> Callable[[Stage], object]:
    return lambda stage: stage.put_item(stage.recent, **changes)


def _page(**changes: Any) -> Callable[[Stage], object]:
    return lambda stage: stage.put_page(stage.page(1), **changes)


def _stray_item(stage: Stage) -> None:
    item = {
        "counter_id": {"S": stage.counter_id},
        "part": {"N": "77"},
        "value": {"N": "5"},
        "version": {"N": "1"},
        "revision": {"N": "1"},
        "updated_at": {"N": "1"},
    }
    stage.client.put_item(TableName=settings.current().counters_table, Item=item)


_ALL = IN_PAGE * PAGES + RECENT
_DAMAGED_PAGE = {kinds.DAMAGED: 1, kinds.UNCOUNTED: IN_PAGE}

DAMAGES: dict[str, Damage] = {
    "everything is lost": Damage(_loses_all, {kinds.UNCOUNTED: _ALL}, rises=True),
    "the item is lost": Damage(Stage.delete_item, {kinds.PAGE_BEYOND: 1, kinds.UNCOUNTED: RECENT, kinds.TOO_LOW: 1}),
    "the item is that of an older backup": Damage(
        _is_older, {kinds.PAGE_BEYOND: 1, kinds.REPEATED: IN_PAGE, kinds.UNCOUNTED: RECENT, kinds.TOO_LOW: 1}
    ),
    "the first page is lost": Damage(
        lambda stage: stage.delete_page(0), {kinds.PAGE_MISSING: 1, kinds.UNCOUNTED: IN_PAGE, kinds.TOO_HIGH: 1}
    ),
    "a page in the middle is lost": Damage(
        lambda stage: stage.delete_page(1), {kinds.PAGE_MISSING: 1, kinds.UNCOUNTED: IN_PAGE, kinds.TOO_HIGH: 1}
    ),
    "the last page is lost": Damage(
        lambda stage: stage.delete_page(PAGES - 1),
        {kinds.PAGE_MISSING: 1, kinds.UNCOUNTED: IN_PAGE, kinds.TOO_HIGH: 1},
    ),
    "all pages are lost": Damage(
        _loses_pages, {kinds.PAGE_MISSING: 1, kinds.UNCOUNTED: IN_PAGE * PAGES, kinds.TOO_HIGH: 1}
    ),
    "a page is that of an older backup": Damage(_has_older_page, {kinds.UNCOUNTED: 1, kinds.TOO_HIGH: 1}),
    "the recent entries are lost": Damage(
        lambda stage: stage.put_item([]), {kinds.UNCOUNTED: RECENT, kinds.TOO_HIGH: 1}
    ),
    "an entry is recent and in a page": Damage(
        lambda stage: stage.put_item([*stage.recent, stage.page(2)[0]]), {kinds.DAMAGED: 1, kinds.UNCOUNTED: RECENT}
    ),
    "an entry is in two pages": Damage(
        lambda stage: stage.put_page([stage.page(0)[1], *stage.page(2)]), {kinds.REPEATED: 1, kinds.TOO_LOW: 1}
    ),
    "an entry is in the wrong page": Damage(
        lambda stage: (
            stage.put_page(stage.page(0)[:1] + stage.page(0)[2:]),
            stage.put_page([stage.page(0)[1], *stage.page(2)]),
        ),
        {kinds.MISPLACED: 1},
    ),
    "a recent entry has no event": Damage(
        lambda stage: stage.put_item([*stage.recent, _stranger(stage, 1000)], **stage.totals(WRONG, 1)),
        {kinds.UNKNOWN: 1},
    ),
    "an entry in a page has no event": Damage(
        lambda stage: (
            stage.put_page([*stage.page(1), _stranger(stage, 45)]),
            stage.put_item(stage.recent, **stage.totals(WRONG, 1)),
        ),
        {kinds.UNKNOWN: 1},
    ),
    "entries in several places have no event": Damage(
        lambda stage: (
            stage.put_page([*stage.page(0), _stranger(stage, 5)]),
            stage.put_page([*stage.page(2), _stranger(stage, 85)]),
            stage.put_item([*stage.recent, _stranger(stage, 1000)], **stage.totals(3 * WRONG, 3)),
        ),
        {kinds.UNKNOWN: 3},
    ),
    "an entry is of another counter's event": Damage(_has_event_of_other_counter, {kinds.UNKNOWN: 1}),
    "a recent entry has another amount": Damage(
        lambda stage: stage.put_item(
            _changed(stage.recent, 1, amount=WRONG), **stage.totals(WRONG - stage.recent[1].amount)
        ),
        {kinds.DIFFERENT: 1, kinds.UNCOUNTED: 1},
    ),
    "an entry in a page has another amount": Damage(
        lambda stage: (
            stage.put_page(_changed(stage.page(1), 1, amount=WRONG)),
            stage.put_item(stage.recent, **stage.totals(WRONG - stage.page(1)[1].amount)),
        ),
        {kinds.DIFFERENT: 1, kinds.UNCOUNTED: 1},
    ),
    "a recent entry has another time": Damage(
        lambda stage: stage.put_item(_changed(stage.recent, 1, recorded_at_ms=A_TIME_MS + 999)),
        {kinds.DIFFERENT: 1, kinds.UNCOUNTED: 1},
    ),
    "an archived event is recent at another time": Damage(
        lambda stage: (
            stage.put_page(stage.page(1)[1:]),
            stage.put_item([*stage.recent, stage.page(1)[0]._replace(recorded_at_ms=A_TIME_MS + 999)]),
        ),
        {kinds.DIFFERENT: 1, kinds.UNCOUNTED: 1},
    ),
    "a recent event is archived at another time": Damage(
        lambda stage: (
            stage.put_page([*stage.page(1), stage.recent[0]._replace(recorded_at_ms=A_TIME_MS + 45)]),
            stage.put_item(stage.recent[1:]),
        ),
        {kinds.DIFFERENT: 1, kinds.UNCOUNTED: 1},
    ),
    "an event has two recent entries": Damage(
        lambda stage: stage.put_item(
            [*stage.recent, stage.recent[1]._replace(recorded_at_ms=A_TIME_MS + 999)],
            **stage.totals(stage.recent[1].amount, 1),
        ),
        {kinds.DIFFERENT: 1},
    ),
    "an event has two entries in a page": Damage(
        lambda stage: (
            stage.put_page(sorted([*stage.page(1), stage.page(1)[1]._replace(recorded_at_ms=A_TIME_MS + 45)])),
            stage.put_item(stage.recent, **stage.totals(stage.page(1)[1].amount, 1)),
        ),
        {kinds.DIFFERENT: 1},
    ),
    "a page is beyond archived_until": Damage(
        lambda stage: stage.put_page([_stranger(stage, 2000)]),
        {kinds.PAGE_BEYOND: 1, kinds.UNKNOWN: 1, kinds.TOO_LOW: 1},
    ),
    "archived_until is too late": Damage(
        lambda stage: stage.put_item(stage.recent, archived_until={"N": str(stage.recent[0].recorded_at_ms - 1)}),
        {kinds.PAGE_MISSING: 1},
    ),
    "archived_until is too early": Damage(
        lambda stage: stage.put_item(stage.recent, archived_until={"N": str(A_TIME_MS)}), {kinds.PAGE_BEYOND: 1}
    ),
    "the value is too high": Damage(lambda stage: stage.put_item(stage.recent, **stage.totals(5)), {kinds.TOO_HIGH: 1}),
    "the value is too low": Damage(lambda stage: stage.put_item(stage.recent, **stage.totals(-5)), {kinds.TOO_LOW: 1}),
    "the version is wrong": Damage(
        lambda stage: stage.put_item(stage.recent, **stage.totals(0, 2)), {kinds.WRONG_VERSION: 1}
    ),
    "there are no events": Damage(_has_no_events, {kinds.UNKNOWN: _ALL}),
    "an item is under a key of no part": Damage(_stray_item, {kinds.STRAY: 1}),
    "a page is under a key of no part": Damage(
        lambda stage: _raw(stage, 1, partition={"S": f"{stage.counter_id}#99"}), {kinds.STRAY: 1}, is_whole=True
    ),
    "a page ends at no whole number": Damage(
        lambda stage: _raw(stage, 1, end={"N": f"{A_TIME_MS + 45}.5"}), {kinds.STRAY: 1}
    ),
    "a page ends after all times": Damage(lambda stage: _raw(stage, 1, end={"N": "1" + "0" * 30}), {kinds.STRAY: 1}),
    "a page starts too early": Damage(_page(start={"N": str(A_TIME_MS + 25)}), {kinds.PAGES_OVERLAP: 1}),
    "a page starts too late": Damage(_page(start={"N": str(A_TIME_MS + 50)}), {kinds.PAGE_MISSING: 1}),
    "a page starts before all times": Damage(_page(start={"N": "-9"}), _DAMAGED_PAGE),
    "a page starts where it ends": Damage(_page(start={"N": str(A_TIME_MS + 70)}), _DAMAGED_PAGE),
    "a page starts at no number": Damage(_page(start={"S": "x"}), _DAMAGED_PAGE),
    "a page has no start": Damage(_page(start=None), _DAMAGED_PAGE),
    "a page's entries are of no bytes": Damage(_page(entries={"S": "x"}), _DAMAGED_PAGE),
    "a page's entries cannot be decoded": Damage(_page(entries={"B": b"\x01xx"}), _DAMAGED_PAGE),
    "a page's entries are not sorted": Damage(
        lambda stage: _raw(stage, 1, entries={"B": _unsorted(stage)}), _DAMAGED_PAGE
    ),
    "a page has no entries": Damage(_page(entries=None), _DAMAGED_PAGE),
    "a page has no revision": Damage(_page(revision=None), _DAMAGED_PAGE),
    "a page's revision is no number": Damage(_page(revision={"S": "x"}), _DAMAGED_PAGE),
    "an entry is later than its page's end": Damage(
        lambda stage: stage.put_page([*stage.page(1), _stranger(stage, 1000)], stage.page(1)[-1].recorded_at_ms),
        _DAMAGED_PAGE,
    ),
}

#: Invalid values of an item's attributes. Such an item cannot be decoded, so its recent entries are unknown.
_ATTRIBUTES: dict[str, list[dict[str, Any] | None]] = {
    "value": [None, {"S": "x"}, {"N": "1.5"}],
    "version": [None, {"BOOL": True}],
    "revision": [None, {"S": "x"}, {"N": "0"}, {"N": "-4"}],
    "archived_until": [{"S": "x"}, {"N": "1" + "0" * 30}, {"N": "-7"}],
    "recent": [{"S": "x"}, {"BS": [b"zz"]}, {"L": []}],
    "amended": [{"S": "x"}],
    "updated_at": [{"S": "x"}],
}

_UNREADABLE = ("value", "version", "updated_at")

DAMAGES |= {
    f"{name} is {wrong}": Damage(
        _item(**{name: wrong}), {kinds.DAMAGED: 1, kinds.UNCOUNTED: RECENT}, rises=name in _UNREADABLE
    )
    for name, several in _ATTRIBUTES.items()
    for wrong in several
}
DAMAGES["the item has only its key"] = Damage(
    lambda stage: stage.put_item([], value=None, version=None, revision=None, archived_until=None, updated_at=None),
    {kinds.DAMAGED: 1, kinds.UNCOUNTED: RECENT},
    rises=True,
)
