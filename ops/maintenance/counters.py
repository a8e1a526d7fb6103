"""List counters with their states, and change the catalog, which decides which counters clients may use."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from chalicelib.access.catalog import find_item
from chalicelib.access.names import Catalog, Names, Verdict, judge
from chalicelib.aws import dynamodb
from chalicelib.aws.dynamodb import UnwritableItemError
from chalicelib.aws.tables import CatalogItem
from chalicelib.domain.commands import Adjust
from chalicelib.domain.counter import Counter
from chalicelib.errors import CatalogUnavailableError
from chalicelib.read_model import queries
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.errors import InputError, OperatorError
from ops.cli.result import Outcome, render_table
from ops.maintenance import adjust

#: The functions read the catalog every 30 seconds, and DynamoDB may return an outdated item for a few seconds.
EFFECTIVE = "The change takes effect within a minute."

_SETS = ("added", "closed", "hidden")
_COLUMNS = ("counter_id", "value", "version", "state")
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Change:
    """
    A change that adds entries to the set `set_name` of the catalog, or removes entries from it.

    `done` is the first word of the message about the change.
    """

    set_name: str
    adds: bool
    done: str


CHANGES = {
    "add": Change("added", adds=True, done="Added"),
    "close": Change("closed", adds=True, done="Closed"),
    "reopen": Change("closed", adds=False, done="Reopened"),
    "hide": Change("hidden", adds=True, done="Hidden"),
    "show": Change("hidden", adds=False, done="Shown"),
}


def list_counters(settings: Settings, names: tuple[str, ...], limit: int) -> Outcome:
    """
    List up to `limit` counters that these names and patterns select (default: all), with value, version and state.

    A counter without events is included if `names`, COUNTERS or the catalog contains its name. Also list the entries of
    COUNTERS and of the catalog.
    """
    catalog, allowed = read(), Names(settings.counters or ())
    sets = _list_sets(catalog)
    listed = {entry for entries in (allowed.entries, *sets.values()) for entry in entries if "*" not in entry}
    with progress.status("Looking for counters"):
        counters = {counter.counter_id: counter for counter in _select(names, listed, limit + 1)}
    rows = [_describe(counters[name], allowed, catalog) for name in sorted(counters)[:limit]]
    facts: dict[str, Any] = {
        "counters": rows,
        "has_more": len(counters) > limit,
        "allowed": sorted(allowed.entries),
        **sets,
    }
    table = render_table(_COLUMNS, [[str(row[column]) for column in _COLUMNS] for row in rows])
    lines = table if rows else ["No such counters." if names else "There are no counters."]
    lines += [f"Only the first {limit:,} are listed: pass names, patterns or --limit."] if facts["has_more"] else []
    lines += [f"{name}: {', '.join(facts[name]) or 'none'}" for name in ("allowed", *_SETS)]
    return Outcome(facts, lines)


def add(names: tuple[str, ...], start: Adjust | None) -> Outcome:
    """
    Add counters to those that COUNTERS allows. Safe to repeat.

    `start` is the adjustment that sets the start value. It is recorded first, so that no client sees the counter
    without it.
    """
    adjusted = adjust.adjust(start, dry_run=False, yes=True) if start else None
    changed = change("add", names)
    facts = {**changed.facts, "adjustment": adjusted.facts} if adjusted else changed.facts
    return Outcome(facts, [*(adjusted.lines or [] if adjusted else []), *(changed.lines or [])], changed.holds)


def change(action: str, names: tuple[str, ...]) -> Outcome:
    """
    Change the catalog: `action` is a key of `CHANGES`. Safe to repeat, even concurrently.

    `reopen` and `show` remove all entries that the names and patterns cover. If another entry still closes or hides one
    of their counters, or hides a counter that `add` names, `holds` is false. The outcome then names that entry.

    Raises:
        OperatorError: the catalog is full or damaged. Nothing is changed.
    """
    kind = CHANGES[action]
    covered = Names(names)  # here, a `*` in an entry is an ordinary character, which only a `*` matches
    entries = {*names} if kind.adds else {entry for entry in _list_sets(read())[kind.set_name] if entry in covered}
    sets = _list_sets(_update(kind, entries) if entries else read())
    left = {} if kind.adds else _find_overlaps(names, sets[kind.set_name])
    hidden = _find_overlaps(names, sets["hidden"]) if action == "add" else {}
    lines = [f"{kind.done}: {', '.join(names)}. {EFFECTIVE}"]
    lines += [
        f"{name} is still {kind.set_name}, at least in part, by {', '.join(by)}: run {action} with these entries."
        for name, by in left.items()
    ]
    lines += [
        f"{name} is hidden, at least in part, by {', '.join(by)}: run show with these entries."
        for name, by in hidden.items()
    ]
    facts = {"action": action, "names": [*names], "remaining": left | hidden}
    return Outcome({**facts, **sets}, lines, holds=not (left or hidden))


def build_start(name: str, value: int, reason: str, who: str | None, key: str) -> Adjust | None:
    """Return the adjustment that adds the start value to a counter; None for 0."""
    if "*" in name:
        raise InputError("--start requires one counter's name, not a pattern.")
    return adjust.build_command(name, by=value, to=None, reason=reason, who=who, key=key) if value else None


def read() -> Catalog:
    """Read the catalog, with one strongly consistent read."""
    item = find_item()
    return _to_catalog({name: getattr(item, name) or () for name in _SETS})


def read_verdicts(settings: Settings, verdict: Verdict) -> Callable[[str], bool]:
    """Read the catalog, and return a function that checks whether a counter has this verdict."""
    allowed, catalog = Names(settings.counters or ()), read()
    return lambda counter_id: judge(counter_id, allowed, catalog) is verdict


def _update(kind: Change, entries: set[str]) -> Catalog:
    attribute: Any = getattr(CatalogItem, kind.set_name)
    action = attribute.add(entries) if kind.adds else attribute.delete(entries)
    try:
        updated = dynamodb.update(CatalogItem(CatalogItem.KEY), [action], None, CatalogUnavailableError)
    except UnwritableItemError as error:
        if "Item size" not in str(error):
            raise OperatorError(
                f"The catalog is damaged: {kind.set_name} must be a set of strings. Nothing was changed. Repair the "
                f"item in table {CatalogItem.Meta.table_name}."
            ) from error
        raise OperatorError(
            "The catalog is full: a DynamoDB item is at most 400 KB. Nothing was changed. Use patterns instead of "
            "names."
        ) from error
    return _to_catalog({name: updated.get(name, {}).get("SS", ()) for name in _SETS})


def _to_catalog(sets: dict[str, Iterable[str]]) -> Catalog:
    return Catalog(*(Names(sets[name]) for name in _SETS))


def _list_sets(catalog: Catalog) -> dict[str, list[str]]:
    return {name: sorted(getattr(catalog, name).entries) for name in _SETS}


def _find_overlaps(names: Iterable[str], entries: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each of the names and patterns, the entries that match some of its counters."""
    found = {name: [entry for entry in entries if has_common_name(name, entry)] for name in names}
    return {name: by for name, by in found.items() if by}


def has_common_name(first: str, second: str) -> bool:
    """Check whether there is a name that matches both patterns."""

    @cache
    def match(i: int, j: int) -> bool:
        left, right = first[i : i + 1], second[j : j + 1]
        # A `*` matches no text, or one more character of the other name.
        if left == "*" and (match(i + 1, j) or (right and match(i, j + 1))):
            return True
        if right == "*" and (match(i, j + 1) or (left and match(i + 1, j))):
            return True
        return left == right != "*" and (not left or match(i + 1, j + 1))

    return match(0, 0)


def _select(names: tuple[str, ...], listed: set[str], limit: int) -> Iterator[Counter]:
    """
    Yield the counters that the names and patterns select, from the names themselves, from `listed` and from a scan.

    The scan stops after the page on which it reaches `limit`. A counter may be yielded twice.
    """
    patterns = Names(name for name in names if "*" in name) if names else Names(["*"])
    for name in {name for name in names if "*" not in name} | {name for name in listed if name in patterns}:
        yield queries.get_counter(name)
    after, found = None, 0
    while patterns.entries and found < limit:
        page = queries.list_counters(_PAGE, after)
        for counter in page.counters:
            if counter.counter_id in patterns:
                found += 1
                yield counter
        if page.last is None:
            return
        after = page.last


def _describe(counter: Counter, allowed: Names, catalog: Catalog) -> dict[str, Any]:
    verdict = judge(counter.counter_id, allowed, catalog)
    is_hidden = verdict is Verdict.UNKNOWN and counter.counter_id in catalog.hidden
    state = "hidden" if is_hidden else verdict.value
    values = (counter.counter_id, counter.value, counter.version, state)
    return dict(zip(_COLUMNS, values, strict=True))
