"""A process's copy of the catalog, and the checks that need no AWS."""

from dataclasses import dataclass, field

import pytest

import app
from chalicelib.access import catalog
from chalicelib.access.names import Catalog, Names
from chalicelib.errors import CatalogUnavailableError
from testkit import aws_requests
from testkit.builders import api_event
from tests.environments import environment


@dataclass
class Table:
    """The catalog's table, with a clock. It fails while `content` is None."""

    content: Catalog | None = field(default_factory=Catalog)
    now_ms: int = 1_700_000_000_000
    reads: int = 0

    def read(self) -> Catalog:
        self.reads += 1
        if self.content is None:
            raise CatalogUnavailableError
        return self.content


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Let the test change the table and the time."""
    table = Table()
    monkeypatch.setattr("chalicelib.clock.now_ms", lambda: table.now_ms)
    monkeypatch.setattr(catalog, "_read", table.read)
    return table


CLOSED = Catalog(closed=Names(["clicks"]))


def test_copy_is_read_once_in_thirty_seconds(table):
    copy = catalog.Copy()

    for _ in range(60):
        copy.get()
        table.now_ms += 1000

    assert table.reads == 2


def test_copy_is_replaced_after_thirty_seconds(table):
    copy = catalog.Copy()
    copy.get()
    table.content = CLOSED

    table.now_ms += catalog.MAX_AGE_MS - 1
    assert copy.get() is not CLOSED
    table.now_ms += 1
    assert copy.get() is CLOSED


def test_copy_is_kept_while_the_table_fails(table):
    copy = catalog.Copy()
    table.content = CLOSED
    copy.get()
    table.content = None

    for _ in range(3):
        table.now_ms += catalog.MAX_AGE_MS
        assert [copy.get(), copy.get()] == [CLOSED, CLOSED]
    assert table.reads == 4


def test_catalog_is_read_on_each_call_until_a_copy_exists(table):
    copy = catalog.Copy()
    table.content = None

    for _ in range(2):
        with pytest.raises(CatalogUnavailableError):
            copy.get()
    table.content = CLOSED
    assert copy.get() is CLOSED


@pytest.mark.parametrize(
    ("method", "resource", "status"),
    [("POST", "/counters/{counter_id}/increments", 403), ("GET", "/counters/{counter_id}", 404)],
)
def test_unknown_counter_is_refused_without_a_request(method, resource, status):
    with environment(COUNTERS="visits"), aws_requests.record() as requests:
        answer = app.app(api_event(method, resource, path={"counter_id": "clicks"}), None)

    assert (answer["statusCode"], requests.operations) == (status, [])


def test_every_route_that_names_a_counter_checks_it():
    """Reports name a counter in a parameter; the integration tests check them."""
    with environment(COUNTERS="visits"):
        refused = {
            (method, path): app.app(
                api_event(method, path, path={"counter_id": "clicks", "event_id": "none"}, query={}), None
            )["statusCode"]
            for path, methods in app.app.routes.items()
            for method in methods
            if "{counter_id}" in path and method in ("GET", "HEAD", "POST")
        }

    assert len(refused) == 13
    assert all(status == (403 if method == "POST" else 404) for (method, _), status in refused.items())
