"""
The three tables, declared. What may be done with them is in `event_log` and `read_model`.

PynamoDB reads `Meta` once, when a table is first used, so the stage is that of the process's settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pynamodb.attributes import BinarySetAttribute, BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.connection import Connection
from pynamodb.models import Model

from chalicelib import retries, settings, timing

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.session import Session

_names = settings.current()


class _Table(Model):
    """
    A batch of keys is read as a whole, with a pause before those are asked for again that DynamoDB handed back.

    It does so where it has no throughput for them, and wants to be left alone a little (API reference, "BatchGetItem");
    PynamoDB asks again at once, without end.
    """

    @classmethod
    def _batch_get_page(cls, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        found, handed_back = super()._batch_get_page(*args, **kwargs)  # type: ignore[no-untyped-call]
        if handed_back:
            retries.pause()
        return found, handed_back


class EventItem(_Table):
    """One event of the log. Written once, never changed. What has another type than it should reads as missing."""

    class Meta:
        table_name = _names.event_log_table

    partition = UnicodeAttribute(hash_key=True)
    event_id = UnicodeAttribute(range_key=True)
    type = UnicodeAttribute()
    version = NumberAttribute()
    by = NumberAttribute()
    recorded_at = NumberAttribute()
    reason = UnicodeAttribute(null=True)
    who = UnicodeAttribute(null=True)

    @classmethod
    def from_raw_data(cls, data: dict[str, Any]) -> Self:
        """Read leniently, for what one item holds must not end the reading of a log."""
        types = {attribute.attr_name: attribute.attr_type for attribute in cls.get_attributes().values()}
        return super().from_raw_data({name: value for name, value in data.items() if types.get(name) in value})


class CounterItem(Model):
    """
    One counter of the read model. Its sums are written only in a transaction with the buckets that they sum up.

    While its read model is made anew, `other` names the generation beside the live one, with sums of its own.
    `unseen` is set as long as no query has seen that one. `dropping` is one whose buckets are being removed, and
    `newest` the last that was begun. Without `generation`, the live one is the first.
    """

    class Meta:
        table_name = _names.counters_table

    counter_id = UnicodeAttribute(hash_key=True)
    value = NumberAttribute(null=True)
    version = NumberAttribute(null=True)
    updated_at = NumberAttribute(null=True)
    generation = NumberAttribute(null=True)
    other = NumberAttribute(null=True)
    other_value = NumberAttribute(null=True)
    other_version = NumberAttribute(null=True)
    unseen = BooleanAttribute(null=True)
    dropping = NumberAttribute(null=True)
    newest = NumberAttribute(null=True)


class BucketItem(_Table):
    """What is counted of one counter (and shard) and one second: the events' ids, 16 bytes each, and their sum."""

    class Meta:
        table_name = _names.buckets_table

    partition = UnicodeAttribute(hash_key=True)
    second = NumberAttribute(range_key=True)
    ids = BinarySetAttribute(legacy_encoding=False)
    sum = NumberAttribute()


class _Connection(Connection):
    """PynamoDB's, but its client is made as all of ours are."""

    @property
    def session(self) -> Session:
        return timing.session()


def connection() -> Connection:
    """The one connection, and so the one client and pool, that all three tables share for the life of this process."""
    return _shared


def client() -> BaseClient:
    """The one DynamoDB client of this process: made when it is first asked for."""
    made: BaseClient = _shared.client
    return made


def _shared_by(*models: type[Model]) -> Connection:
    # PynamoDB gives each model a client of its own, and a client takes longer to make than a request. What it has
    # settings for, it decides itself.
    shared = _Connection(
        connect_timeout_seconds=timing.CONNECT_S,
        read_timeout_seconds=timing.READ_S,
        max_retry_attempts=timing.ATTEMPTS - 1,
    )
    for model in models:
        own = model._get_connection()
        shared.add_meta_table(own.get_meta_table())
        own.connection = shared
    return shared


_shared = _shared_by(EventItem, CounterItem, BucketItem)
