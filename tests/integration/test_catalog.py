"""Test which counters exist. Each route checks before it reads or writes, and each process rarely reads the catalog."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

import app
from chalicelib import settings
from chalicelib.access import catalog
from chalicelib.extras.sql import read_model
from testkit import aws_requests, faults
from testkit.builders import an_event
from tests import databases
from tests.environments import environment, sql_environment

NOT_FOUND = "urn:counter:problem:counter-not-found"
NOT_ALLOWED = "urn:counter:problem:counter-not-allowed"
CLOSED = "urn:counter:problem:counter-closed"
AN_EVENT_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass
class Stage:
    """The catalog of the stage, as operators change it, and a clock."""

    now_ms: int

    def put(self, **sets: set[str]) -> None:
        """Replace the catalog, but not the copies that processes have."""
        item: dict[str, Any] = {"name": "counters", **{name: entries for name, entries in sets.items() if entries}}
        boto3.resource("dynamodb").Table(settings.current().catalog_table).put_item(Item=item)


@pytest.fixture
def operated(stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Let the test change the catalog and the time. This process has no copy of the catalog yet."""
    operated = Stage(1_700_000_000_000)
    monkeypatch.setattr("chalicelib.clock.now_ms", lambda: operated.now_ms)
    monkeypatch.setattr(catalog, "_copy", catalog.Copy())
    operated.put()
    yield operated
    operated.put()


def reads(pipeline: Any) -> list[Any]:
    """Send each request that reads the pipeline's counter."""
    return [
        pipeline.counter(),
        pipeline.cached_counter(),
        pipeline.event(AN_EVENT_ID),
        pipeline.events(),
        pipeline.history(),
        pipeline.badge(),
    ]


def test_unknown_counter_is_refused_on_each_route_without_a_request(operated, pipeline):
    with environment(COUNTERS="visits,likes-*"):
        pipeline.send("GET", "/counters/{counter_id}", path={"counter_id": "visits"})  # reads the catalog
        with aws_requests.record() as requests:
            incremented = [pipeline.increment(), pipeline.increment({"by": -1}), pipeline.increment(If_Match='"0"')]
            read = reads(pipeline)

    assert [(answer.status, answer.body["type"]) for answer in incremented] == [(403, NOT_ALLOWED)] * 3
    assert [(answer.status, answer.body["type"]) for answer in read] == [(404, NOT_FOUND)] * len(read)
    assert requests.operations == []


def test_allowed_counters_are_incremented_and_read(operated, pipeline):
    with environment(COUNTERS=f"visits,{pipeline.counter_id[:8]}*"):
        assert pipeline.increment().status == 202
        assert [answer.status for answer in reads(pipeline)] == [200, 200, 404, 200, 200, 200]


def test_malformed_counter_id_is_400_although_no_such_counter_exists(operated, pipeline):
    with environment(COUNTERS="visits"):
        answer = pipeline.send("GET", "/counters/{counter_id}", path={"counter_id": "a%2Fb"})

    assert (answer.status, answer.body["type"]) == (400, "urn:counter:problem:invalid-request")


def test_added_counter_exists_although_the_setting_lacks_it(operated, pipeline):
    operated.put(added={pipeline.counter_id})

    with environment(COUNTERS=""):
        assert pipeline.increment().status == 202
        assert pipeline.counter().status == 200


def test_closed_counter_is_read_but_not_incremented(operated, pipeline):
    operated.put(closed={pipeline.counter_id})

    with aws_requests.record() as requests:
        refused = pipeline.increment()
    assert (refused.status, refused.body["type"]) == (403, CLOSED)
    assert requests.operations == ["GetItem"]  # of the catalog
    assert [answer.status for answer in reads(pipeline)] == [200, 200, 404, 200, 200, 200]


def test_hidden_counter_is_answered_like_one_that_is_not_allowed(operated, pipeline):
    operated.put(hidden={"*"}, closed={pipeline.counter_id})

    assert (pipeline.increment().status, pipeline.increment().body["type"]) == (403, NOT_ALLOWED)
    assert {(answer.status, answer.body["type"]) for answer in reads(pipeline)} == {(404, NOT_FOUND)}


def test_refused_badge_is_a_picture_for_clients_that_prefer_images(operated, pipeline):
    operated.put(hidden={pipeline.counter_id})

    answer = pipeline.send("GET", "/counters/{counter_id}/badge.svg", headers={"Accept": "image/avif,*/*"})

    assert (answer.status, answer.headers["Content-Type"], answer.headers["Vary"]) == (200, "image/svg+xml", "Accept")
    assert "There is no counter" in answer.body


def test_list_omits_unknown_and_hidden_counters_and_its_cursor_works(operated, pipeline):
    names = [f"{pipeline.counter_id}-{number}" for number in range(9)]
    pipeline.count(*[an_event(counter_id=name) for name in names])
    operated.put(added={f"{pipeline.counter_id}-*"}, hidden=set(names[::3]), closed=set(names[1::3]))

    with environment(COUNTERS="visits"):
        listed = pipeline.list_counters(1)

    assert sorted(listed) == sorted(set(names) - set(names[::3]))


def test_report_omits_hidden_counters_and_refuses_their_names(operated, pipeline, tmp_path, monkeypatch):
    database = databases.sqlite_database(tmp_path / "read-model.sqlite")
    read_model.make_schema(database.url)
    operated.put(hidden={"b"})

    def get(**query: str) -> Any:
        sent = {name: [value] for name, value in query.items()}
        return pipeline.send("GET", "/reports/{name}", path={"name": "top_counters"}, query=sent)

    with sql_environment(database.url):
        monkeypatch.setattr(app, "_settings", settings.current())
        read_model.count([an_event(counter_id=name, by=by) for name, by in (("a", 3), ("b", 2), ("c", 1))])
        pages = [get(limit="1")]
        while cursor := pages[-1].body["next_cursor"]:
            pages.append(get(limit="1", cursor=cursor))
        refused = get(counter_id="b")

    assert [[row["counter_id"] for row in page.body["rows"]] for page in pages] == [["a"], [], ["c"]]
    assert (refused.status, refused.body["type"]) == (404, NOT_FOUND)


@pytest.mark.parametrize("fault", [faults.throttle, faults.drop_request])
def test_process_without_a_copy_answers_503_and_records_nothing(operated, pipeline, fault):
    pipeline.count(an_event(counter_id=f"{pipeline.counter_id}-listed"))
    with faults.inject("GetItem", fault, faults.ALWAYS), aws_requests.record() as requests:
        answers = [pipeline.increment(), pipeline.counter(), pipeline.send("GET", "/counters")]

    assert [(answer.status, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 3
    assert answers[0].body["detail"] == "Nothing was recorded. Retry later."
    assert {*requests.operations} <= {"GetItem", "Scan"}
    assert (pipeline.increment().status, pipeline.version) == (202, 0)


def test_clock_that_goes_back_does_not_keep_an_old_copy(operated, pipeline):
    assert pipeline.increment().status == 202
    operated.put(closed={pipeline.counter_id})

    operated.now_ms -= 3_600_000
    assert pipeline.increment().status == 403


@pytest.mark.parametrize("entries", ["clicks", ["clicks"], {1}])
def test_damaged_catalog_is_handled_like_an_unavailable_one(operated, pipeline, entries):
    """A process without a copy answers 503. Other processes keep their copies."""
    operated.put(closed={pipeline.counter_id})
    assert pipeline.increment().status == 403
    operated.put(closed=entries)

    operated.now_ms += catalog.MAX_AGE_MS
    assert [pipeline.increment().status for _ in range(2)] == [403, 403]
    catalog._copy = catalog.Copy()
    assert (pipeline.increment().status, pipeline.increment().headers["Retry-After"]) == (503, "1")
