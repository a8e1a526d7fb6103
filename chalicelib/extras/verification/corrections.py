"""Conditional writes that only `rebuild` uses."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import clock
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.dynamodb import RefusedError
from chalicelib.aws.tables import CounterItem, PageItem
from chalicelib.domain.counter import NOTHING_ARCHIVED
from chalicelib.domain.entries import encode_entry, encode_page
from chalicelib.errors import DamagedReadModelError, ReadModelUnavailableError
from chalicelib.read_model import items, store
from chalicelib.read_model.store import ChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.models import Model

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import PageWrite
    from chalicelib.domain.counter import Part, PartKey
    from chalicelib.domain.entries import Entry


@dataclass(frozen=True, slots=True)
class Correction:
    """
    Correct a part: write pages, each on its own condition, and change the part's item.

    `value` and `version` are added. `recent` and `archived_until_ms` replace the item's, unless they are None. If
    `revision` is not None, the item must still have it; 0: the item must not exist. The same applies to `amended`. No
    archive page may end at `absent_end_ms`.
    """

    pages: tuple[PageWrite, ...] = ()
    value: int = 0
    version: int = 0
    recent: frozenset[Entry] | None = None
    archived_until_ms: int | None = None
    revision: int | None = None
    amended: int | None = None
    absent_end_ms: int | None = None


def correct(key: PartKey, correction: Correction) -> None:
    """
    Execute a correction if its conditions hold: all of its writes or none. One request.

    Raises:
        ChangedError: a condition no longer holds.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
    """
    item = CounterItem
    actions: list[Action] = [
        item.value.add(correction.value),
        item.version.add(correction.version),
        item.revision.add(1),
        item.amended.add(1),
        item.updated_at.set(item.updated_at | clock.now_ms()),  # only if it is missing
    ]
    if correction.recent is not None:
        actions.append(store.set_recent(correction.recent))
    if correction.archived_until_ms is not None:
        until_ms = correction.archived_until_ms
        is_none = until_ms == NOTHING_ARCHIVED
        actions.append(item.archived_until.remove() if is_none else item.archived_until.set(until_ms))
    with _translate_refusals(), dynamodb.transact(ReadModelUnavailableError) as transaction:
        if correction.absent_end_ms is not None:
            partition, is_absent = partitions.format_partition(key), PageItem.end.does_not_exist()
            transaction.condition_check(PageItem, partition, correction.absent_end_ms, condition=is_absent)
        for page in correction.pages:
            store.include_page(transaction, key, page)
        condition = _build_condition(correction)
        transaction.update(item(key.counter_id, key.part), actions=actions, condition=condition)


def _build_condition(correction: Correction) -> Condition | None:
    """Return the condition on the item's `revision` and `amended`."""
    condition = None if correction.revision is None else store.revision_condition(correction.revision)
    if correction.amended is None:
        return condition
    same: Condition = CounterItem.amended == correction.amended
    if correction.amended == 0:
        same = CounterItem.revision.exists() & (same | CounterItem.amended.does_not_exist())
    return same if condition is None else condition & same


def replace_damaged_item(stored: RawItem, part: Part) -> None:
    """
    Replace a counter's item that cannot be decoded, if its revision, possibly damaged, is unchanged. One request.

    Raises:
        ChangedError: the item changed.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
    """
    new: RawItem = {
        "counter_id": {"S": part.key.counter_id},
        "part": {"N": str(part.key.part)},
        "value": {"N": str(part.value)},
        "version": {"N": str(part.version)},
        "revision": {"N": str(_read_revision(stored) + 1)},
        "amended": {"N": str(part.amended + 1)},
        "updated_at": {"N": str(part.updated_at_ms or clock.now_ms())},
    }
    if part.recent:
        new["recent"] = {"BS": [encode_entry(entry) for entry in part.recent]}
    if part.archived_until_ms != NOTHING_ARCHIVED:
        new["archived_until"] = {"N": str(part.archived_until_ms)}
    _replace(CounterItem, stored, new)


def replace_damaged_page(key: PartKey, start_ms: int, end_ms: int) -> None:
    """
    Replace an archive page that cannot be decoded with an empty page from `start_ms` to the same end. Two requests.

    Raises:
        ChangedError: the page changed, can be decoded, or does not exist.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
    """
    stored = _page_at(key, end_ms)
    with contextlib.suppress(DamagedReadModelError):
        items.decode_page(stored)
        raise ChangedError
    new = {
        "partition": stored["partition"],
        "end": stored["end"],
        "start": {"N": str(start_ms)},
        "entries": {"B": encode_page([])},
        "revision": {"N": str(_read_revision(stored) + 1)},
    }
    _replace(PageItem, stored, new)


def delete_item(stored: RawItem) -> None:
    """
    Delete a counter's item, if its revision is unchanged. One request.

    Raises:
        ChangedError: the item changed.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
    """
    _delete(CounterItem, {"counter_id": stored["counter_id"], "part": stored["part"]}, stored)


def delete_page(key: PartKey, end_ms: int, revision: int | None) -> None:
    """
    Delete the archive page with this end, if it has this revision; None: if it cannot be decoded. Two requests.

    Raises:
        ChangedError: the page changed, or does not exist.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
    """
    stored = _page_at(key, end_ms)
    try:
        now: int | None = items.decode_page(stored).revision
    except DamagedReadModelError:
        now = None
    if now != revision:
        raise ChangedError
    _delete(PageItem, {"partition": stored["partition"], "end": stored["end"]}, stored)


def delete_stray(item: RawItem) -> None:
    """
    Delete a counter's item or an archive page whose key is invalid. One request; safe to repeat.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    if "partition" in item:
        _delete(PageItem, {"partition": item["partition"], "end": item["end"]})
    else:
        _delete(CounterItem, {"counter_id": item["counter_id"], "part": item["part"]})


def _page_at(key: PartKey, end_ms: int) -> RawItem:
    """Return the archive page with this end, undecoded."""
    for stored in next(store.query_pages(key, end_ms, 1), []):
        if stored["end"] == {"N": str(end_ms)}:
            return stored
    raise ChangedError


def _read_revision(item: RawItem) -> int:
    """Return the revision of an item that may be damaged."""
    text = item.get("revision", {}).get("N", "")
    return int(text) if text.isdecimal() else 0


@contextlib.contextmanager
def _translate_refusals() -> Iterator[None]:
    """Raise a refused write as a `ChangedError`."""
    try:
        yield
    except RefusedError as refused:
        raise ChangedError from refused


def _replace(model: type[Model], stored: RawItem, new: RawItem) -> None:
    table: str = model.Meta.table_name
    with _translate_refusals():
        dynamodb.request("put_item", ReadModelUnavailableError, TableName=table, Item=new, **_revision_check(stored))


def _delete(model: type[Model], key: RawItem, stored: RawItem | None = None) -> None:
    table: str = model.Meta.table_name
    condition = {} if stored is None else _revision_check(stored)
    with _translate_refusals():
        dynamodb.request("delete_item", ReadModelUnavailableError, TableName=table, Key=key, **condition)


def _revision_check(stored: RawItem) -> dict[str, Any]:
    """Return the condition that an item still has the revision, possibly damaged, with which it was read."""
    if "revision" not in stored:
        return {"ConditionExpression": "attribute_not_exists(revision)"}
    return {
        "ConditionExpression": "revision = :revision",
        "ExpressionAttributeValues": {":revision": stored["revision"]},
    }
