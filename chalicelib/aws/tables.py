"""
Define the four tables as PynamoDB models, which share one client.

PynamoDB reads `Meta` once, on first use of a table, so the settings of the process determine the stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pynamodb.attributes import (
    Attribute,
    BinaryAttribute,
    BinarySetAttribute,
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.connection import Connection
from pynamodb.models import Model

from chalicelib import retries, settings
from chalicelib.aws import session as aws_session
from chalicelib.domain.events import TYPES, Event

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.session import Session

_settings = settings.current()


class _Table(Model):
    """
    A table whose batch reads pause before each retry of unprocessed keys.

    DynamoDB leaves keys unprocessed if it runs short of throughput, and recommends a backoff (API reference,
    "BatchGetItem"). PynamoDB alone retries immediately and without limit.
    """

    @classmethod
    def _batch_get_page(cls, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        items, unprocessed = super()._batch_get_page(*args, **kwargs)  # type: ignore[no-untyped-call]
        if unprocessed:
            retries.pause()
        return items, unprocessed


def _make_attributes() -> dict[str, Attribute[Any]]:
    """Return an attribute for each field that only some event types have."""
    rules = (
        rule for event_type in TYPES.values() for name, rule in event_type.rules.items() if name not in Event.rules
    )
    makers: dict[type, type[Attribute[Any]]] = {int: NumberAttribute, str: UnicodeAttribute}
    return {rule.name: makers[rule.value_type](null=True) for rule in rules}


class EventItem(_Table):
    """
    One event of the log: written once, never changed. An attribute of the wrong type is read as missing.

    The class also has an attribute for each field that only some event types have.
    """

    class Meta:
        table_name = _settings.event_log_table

    partition = UnicodeAttribute(hash_key=True)
    event_id = UnicodeAttribute(range_key=True)
    type = UnicodeAttribute()
    version = NumberAttribute()
    by = NumberAttribute()
    recorded_at = NumberAttribute()
    likely_counted = BooleanAttribute(null=True)

    locals().update(_make_attributes())

    @classmethod
    def from_raw_data(cls, data: dict[str, Any]) -> Self:
        """Skip attributes of the wrong type, so that one damaged item does not stop a scan of the log."""
        types = {attribute.attr_name: attribute.attr_type for attribute in cls.get_attributes().values()}
        return super().from_raw_data({name: value for name, value in data.items() if types.get(name) in value})


class CounterItem(Model):
    """One part of a counter: its totals and its recent entries. See `domain.counter.Part`."""

    class Meta:
        table_name = _settings.counters_table

    counter_id = UnicodeAttribute(hash_key=True)
    part = NumberAttribute(range_key=True)
    value = NumberAttribute(null=True)
    version = NumberAttribute(null=True)
    recent = BinarySetAttribute(legacy_encoding=False, null=True)
    archived_until = NumberAttribute(null=True)
    revision = NumberAttribute(null=True)
    amended = NumberAttribute(null=True)
    updated_at = NumberAttribute(null=True)


class PageItem(Model):
    """One archive page of a part: the entries later than `start` and not later than `end`, in ms since 1970."""

    class Meta:
        table_name = _settings.archive_table

    partition = UnicodeAttribute(hash_key=True)
    end = NumberAttribute(range_key=True)
    start = NumberAttribute()
    entries = BinaryAttribute(legacy_encoding=False)
    revision = NumberAttribute()


class CheckpointItem(Model):
    """The checkpoint of a scheduled job, in the archive's table. Its key starts with "#", unlike any counter id."""

    class Meta:
        table_name = _settings.archive_table

    partition = UnicodeAttribute(hash_key=True)
    end = NumberAttribute(range_key=True, default_for_new=0)
    state = UnicodeAttribute()


class CatalogItem(Model):
    """The only item of the catalog: sets of names and patterns. A missing attribute is an empty set."""

    class Meta:
        table_name = _settings.catalog_table

    KEY: ClassVar[str] = "counters"

    name = UnicodeAttribute(hash_key=True)
    added = UnicodeSetAttribute(null=True)
    closed = UnicodeSetAttribute(null=True)
    hidden = UnicodeSetAttribute(null=True)


class _Connection(Connection):
    """PynamoDB's connection, with a client from our session."""

    @property
    def session(self) -> Session:
        return aws_session.create_session()


def connection() -> Connection:
    """Return the connection that all tables share, with the process's only DynamoDB client and connection pool."""
    return _shared


def client() -> BaseClient:
    """Return the only DynamoDB client of this process. Create it on first use."""
    shared: BaseClient = _shared.client
    return shared


def share_connection(*models: type[Model]) -> None:
    """Let these models use the process's only connection. The call is safe to repeat."""
    # By default, PynamoDB creates a client for each model, which takes longer than a request.
    for model in models:
        own = model._get_connection()
        if own.table_name not in _shared._tables:
            _shared.add_meta_table(own.get_meta_table())
        own.connection = _shared


# PynamoDB overrides the session's configuration with its own, so repeat the timeouts here.
_shared = _Connection(
    connect_timeout_seconds=aws_session.CONNECT_S,
    read_timeout_seconds=aws_session.READ_S,
    max_retry_attempts=aws_session.ATTEMPTS - 1,
)
share_connection(EventItem, CounterItem, PageItem, CheckpointItem, CatalogItem)
