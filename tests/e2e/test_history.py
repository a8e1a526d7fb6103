"""History over HTTP."""

from datetime import UTC, datetime

from tests.e2e.conftest import eventually


def test_a_history_over_http_adds_up_to_the_value(client, counter_id):
    began = datetime.now(UTC)
    for by in (1, 2, 4):
        client.increment(counter_id, by)
    eventually(lambda: client.counter(counter_id)["version"] == 3)
    asked = {"from": began.astimezone().isoformat(), "resolution": "second"}

    answer = client.http.get(f"/counters/{counter_id}/history", params=asked)
    by_day = client.http.get(f"/counters/{counter_id}/history?resolution=day")

    points = answer.json()["points"]
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert (sum(point["increments"] for point in points), sum(point["sum"] for point in points)) == (3, 7)
    assert [point["start"] for point in points] == sorted({point["start"] for point in points})
    assert {point["start"].partition("T")[2] for point in by_day.json()["points"]} == {"00:00:00.000Z"}
    assert sum(point["sum"] for point in by_day.json()["points"]) == 7


def test_past_state_over_http_is_that_of_an_earlier_version(client, counter_id):
    recorded_at = client.increment(counter_id, 5).json()["recorded_at"]
    eventually(lambda: client.counter(counter_id)["version"] == 1)
    address = f"/counters/{counter_id}?at={recorded_at}"

    answer = client.http.get(address)
    known = client.http.get(address, headers={"If-None-Match": answer.headers["ETag"]})
    head = client.http.head(address)
    earlier = client.http.get(f"/counters/{counter_id}?at=2020-01-01T01:00:00%2B01:00")

    assert answer.json() == {"counter_id": counter_id, "value": 5, "version": 1, "at": recorded_at}
    assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == ('"1"', "no-cache")
    assert (known.status_code, known.content) == (304, b"")
    assert (head.status_code, head.headers["ETag"], head.content) == (200, '"1"', b"")
    assert earlier.json() == {"counter_id": counter_id, "value": 0, "version": 0, "at": "2020-01-01T00:00:00.000Z"}
