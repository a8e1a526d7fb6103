"""
Generations: a counter's read model made anew beside the live one, without a moment in which queries see it half made.

    begin    another generation stands beside the live one, empty; every worker counts in both from its next write on
    (fill)   the log is counted once more, and what the new generation lacks gets into it
    switch   queries see the other one, at once; the one before is kept current, so that one can switch back
    drop     the one that queries do not see is gone, with its buckets

All of it stands in the counter's own item, which every worker writes on condition that it has the generations that the
worker believes in. So none can miss a change, nobody waits for anybody, and what was cut off is continued or undone.
No number is given twice: what still removes, or writes to, a generation that is gone meets no other in its place.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pynamodb.exceptions import UpdateError

from chalicelib import codec, dynamodb, read_model, retries, settings
from chalicelib.counting import BucketKey, Counter
from chalicelib.errors import ContendedError, ReadModelUnavailableError
from chalicelib.tables import BucketItem, CounterItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.update import Action

_TRIES = 20


def begin(counter_id: str) -> Counter:
    """
    A generation stands beside the live one that is to be filled, and is kept current from now on. Returns the counter.

    One that was begun before, and that no query has seen, is gone on with. One that was seen is dropped first.

    Raises:
        ReadModelUnavailableError, ContendedError: run it again.
    """
    for _ in retries.attempts(_TRIES):
        found = read_model.counter(counter_id)
        if found.unseen:
            return found
        if found.generations.other is not None or found.dropping is not None:
            drop(counter_id)
            continue
        item, number = CounterItem, found.newest + 1
        new = [item.other.set(number), item.other_value.set(0), item.other_version.set(0), item.newest.set(number)]
        with contextlib.suppress(_MovedOnError):
            _update(found, [*new, item.unseen.set(True), item.value.add(0), item.version.add(0)])
    raise ContendedError(f"counter {counter_id} is being rebuilt by others")


def switch(counter_id: str, to: int) -> Counter:
    """
    Queries see this generation, if it stood beside the live one, which now stands beside it. Returns the counter.

    Raises:
        ReadModelUnavailableError, ContendedError: run it again.
    """
    for _ in retries.attempts(_TRIES):
        found = read_model.counter(counter_id)
        live, other = found.generations.live, found.generations.other
        if other != to:
            return found
        item = CounterItem
        swap: list[Action] = [
            # What stands on the right is what was there before (developer guide, "Update expressions").
            item.value.set(item.other_value),
            item.version.set(item.other_version),
            item.other_value.set(item.value),
            item.other_version.set(item.version),
            item.other.set(live),
            item.generation.remove() if other == 1 else item.generation.set(other),
            item.unseen.remove(),
        ]
        with contextlib.suppress(_MovedOnError):
            _update(found, swap)
    raise ContendedError(f"counter {counter_id} is being rebuilt by others")


def drop(counter_id: str) -> int:
    """
    Only the live generation is left. Returns how many buckets were removed of the other one.

    Its sums go first, so that nobody writes to it any more; then its buckets. Cut off between, it is finished by the
    next call.

    Raises:
        ReadModelUnavailableError, ContendedError: run it again.
    """
    removed = 0
    for _ in retries.attempts(_TRIES):
        found = read_model.counter(counter_id)
        with contextlib.suppress(_MovedOnError):
            if found.dropping is not None:
                removed += _remove_buckets(counter_id, found.dropping)
                _update(found, [CounterItem.dropping.remove()])
            elif (other := found.generations.other) is not None:
                item = CounterItem
                gone = [item.other.remove(), item.other_value.remove(), item.other_version.remove()]
                _update(found, [item.dropping.set(other), *gone, item.unseen.remove()])
            else:
                return removed
    raise ContendedError(f"counter {counter_id} is being rebuilt by others")


class _MovedOnError(Exception):
    """The counter has other generations than were read, or a transaction was in the way: look again."""


def _update(found: Counter, actions: list[Action]) -> None:
    dropping = CounterItem.dropping
    unchanged = dropping.does_not_exist() if found.dropping is None else dropping == found.dropping
    try:
        CounterItem(found.counter_id).update(actions, condition=read_model.has(found.generations) & unchanged)
    except UpdateError as error:
        if dynamodb.code(error) in ("ConditionalCheckFailedException", "TransactionConflictException"):
            raise _MovedOnError from error
        raise ReadModelUnavailableError(str(error)) from error


def _remove_buckets(counter_id: str, generation: int) -> int:
    removed = 0
    with dynamodb.unavailable_as(ReadModelUnavailableError), BucketItem.batch_write() as batch:
        for item in _buckets(counter_id, generation):
            batch.delete(item)
            removed += 1
    return removed


def _buckets(counter_id: str, generation: int) -> Iterator[BucketItem]:
    shards = settings.current().shards
    for shard in range(shards):
        partition = codec.bucket_partition(BucketKey(counter_id, shard, 0, generation), shards)
        yield from BucketItem.query(partition, attributes_to_get=["partition", "second"], consistent_read=True)
