"""
Correct the read model for `rebuild`. All writes except `delete_stray` are conditional.

If the condition of a write does not hold, nothing is written and the function raises a `ChangedError`. If DynamoDB
throttles or refuses the request, or does not respond, the function raises a `ReadModelUnavailableError`, and the
outcome is unknown.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from chalicelib import clock
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.dynamodb import RefusedError
from chalicelib.aws.tables import CounterItem, PageItem
from chalicelib.domain.archive import PageWrite
from chalicelib.domain.counter import NOTHING_ARCHIVED
from chalicelib.errors import DamagedReadModelError, ReadModelUnavailableError
from chalicelib.read_model import items, store
from chalicelib.read_model.store import ChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.counter import Part, PartKey
    from chalicelib.domain.entries import Entry


def correct(  # noqa: PLR0913  (a correction needs only some of them)
    key: PartKey,
    pages: Iterable[PageWrite] = (),
    *,
    value: int = 0,
    version: int = 0,
    recent: frozenset[Entry] | None = None,
    archived_until_ms: int | None = None,
    revision: int | None = None,
    amended: int | None = None,
    absent_end_ms: int | None = None,
) -> None:
    """
    Write pages, each on its own condition, and change the part's item, all or nothing. The call takes one request.

    `value` and `version` are added to the item's totals. `recent` and `archived_until_ms` replace those of the item,
    unless they are None. The item must still have this `revision` and this `amended`, unless they are None. With
    revision 0, the item must not exist. No archive page may end at `absent_end_ms`.
    """
    item = CounterItem
    actions: list[Action] = [
        item.value.add(value),
        item.version.add(version),
        item.revision.add(1),
        item.amended.add(1),
        item.updated_at.set(item.updated_at | clock.now_ms()),  # only if it is missing
    ]
    if recent is not None:
        actions.append(store.set_recent(recent))
    if archived_until_ms is not None:
        is_none = archived_until_ms == NOTHING_ARCHIVED
        actions.append(item.archived_until.remove() if is_none else item.archived_until.set(archived_until_ms))
    with _translate_refusals(), dynamodb.transact(ReadModelUnavailableError) as transaction:
        if absent_end_ms is not None:
            partition, is_absent = partitions.format_partition(key), PageItem.end.does_not_exist()
            transaction.condition_check(PageItem, partition, absent_end_ms, condition=is_absent)
        for page in pages:
            store.include_page(transaction, key, page)
        condition = _build_condition(revision, amended)
        transaction.update(item(key.counter_id, key.part), actions=actions, condition=condition)


def _build_condition(revision: int | None, amended: int | None) -> Condition | None:
    """Return the condition that the item still has this `revision` and `amended`. None skips a check."""
    condition = None if revision is None else store.revision_condition(revision)
    if amended is None:
        return condition
    same: Condition = CounterItem.amended == amended
    if amended == 0:
        same = CounterItem.revision.exists() & (same | CounterItem.amended.does_not_exist())
    return same if condition is None else condition & same


def replace_damaged_item(stored: RawItem, part: Part) -> None:
    """Replace a counter's item that cannot be decoded, if its revision, which may be damaged, is unchanged."""
    new = CounterItem(
        part.key.counter_id,
        part.key.part,
        value=part.value,
        version=part.version,
        recent=items.encode_recent(part.recent) or None,
        archived_until=None if part.archived_until_ms == NOTHING_ARCHIVED else part.archived_until_ms,
        revision=_read_revision(stored) + 1,
        amended=part.amended + 1,
        updated_at=part.updated_at_ms or clock.now_ms(),
    )
    _request("put_item", stored, Item=new.serialize(), **_revision_check(stored))


def replace_damaged_page(key: PartKey, start_ms: int, end_ms: int) -> None:
    """
    Replace an archive page with an empty page from `start_ms` to the same end. The call takes two requests.

    The condition: the page exists and cannot be decoded.
    """
    stored = read_page(key, end_ms)
    with contextlib.suppress(DamagedReadModelError):
        items.decode_page(stored)
        raise ChangedError
    new = items.encode_page(key, PageWrite(start_ms, end_ms, _read_revision(stored), ()))
    _request("put_item", stored, Item=new.serialize(), **_revision_check(stored))


def delete(stored: RawItem) -> None:
    """Delete a counter's item or an archive page, if its revision, which may be damaged, is unchanged."""
    _request("delete_item", stored, Key=_key(stored), **_revision_check(stored))


def delete_stray(stored: RawItem) -> None:
    """Delete a counter's item or an archive page whose key is invalid. The call is safe to repeat."""
    _request("delete_item", stored, Key=_key(stored))


def read_page(key: PartKey, end_ms: int) -> RawItem:
    """Return the archive page with this end, undecoded. The condition: the page exists."""
    for stored in next(store.query_pages(key, end_ms, 1), []):
        if stored["end"] == {"N": str(end_ms)}:
            return stored
    raise ChangedError


def read_integer(stored: RawItem, name: str) -> int | None:
    """Return an integer attribute of an item that may be damaged, or None if it is not an integer."""
    text = stored.get(name, {}).get("N", "")
    return int(text) if re.fullmatch("-?[0-9]+", text) else None


def _read_revision(stored: RawItem) -> int:
    return max(0, read_integer(stored, "revision") or 0)


@contextlib.contextmanager
def _translate_refusals() -> Iterator[None]:
    """Raise a `ChangedError` for a refused write."""
    try:
        yield
    except RefusedError as refused:
        raise ChangedError from refused


def _request(operation: str, stored: RawItem, **parameters: Any) -> None:
    """Send a write to the table of this item."""
    table = (PageItem if "partition" in stored else CounterItem).Meta.table_name
    with _translate_refusals():
        dynamodb.request(operation, ReadModelUnavailableError, TableName=table, **parameters)


def _key(stored: RawItem) -> RawItem:
    names = ("partition", "end") if "partition" in stored else ("counter_id", "part")
    return {name: stored[name] for name in names}


def _revision_check(stored: RawItem) -> dict[str, Any]:
    """Return the condition that an item still has the revision with which it was read, even if that is damaged."""
    if "revision" not in stored:
        return {"ConditionExpression": "attribute_not_exists(revision)"}
    return {
        "ConditionExpression": "revision = :revision",
        "ExpressionAttributeValues": {":revision": stored["revision"]},
    }
