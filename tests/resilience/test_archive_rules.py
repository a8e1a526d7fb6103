"""The rules of the archive at their limits, checked in the tables."""

import time

from chalicelib import settings
from chalicelib.domain.archive import KEPT_MIN, PAGE_MAX, RECENT_MAX
from testkit.builders import A_TIME_MS, an_adjustment, an_event


def counted(pipeline, times_ms):
    """Events of these times in ms after `A_TIME_MS`, counted as one batch."""
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + ms) for ms in times_ms]
    pipeline.log(events)
    pipeline.count(*events)


def ends(watcher):
    (part,) = watcher.parts()
    return [end_ms - A_TIME_MS for end_ms in sorted(part.pages)]


def test_an_event_of_the_last_archived_millisecond_is_late(pipeline, watcher):
    counted(pipeline, range(RECENT_MAX + 1))

    counted(pipeline, [RECENT_MAX])

    watcher.check_in_the_end()
    assert ends(watcher) == [RECENT_MAX]


def test_a_page_keeps_its_end_when_it_is_amended(engine, pipeline, watcher):
    """The page ends later than its last entry, as after a repair that removed an entry without an event."""
    counted(pipeline, range(0, 2 * PAGE_MAX, 2))
    names, dynamodb = settings.current(), engine.client("dynamodb")
    found = dynamodb.scan(TableName=names.archive_table, ConsistentRead=True)["Items"]
    (page,) = (item for item in found if item["partition"]["S"] == pipeline.counter_id)
    end = {"N": str(int(page["end"]["N"]) + 10)}
    dynamodb.put_item(TableName=names.archive_table, Item={**page, "end": end})
    dynamodb.delete_item(TableName=names.archive_table, Key={name: page[name] for name in ("partition", "end")})
    dynamodb.update_item(
        TableName=names.counters_table,
        Key={"counter_id": {"S": pipeline.counter_id}, "part": {"N": "0"}},
        UpdateExpression="SET archived_until = :end",
        ExpressionAttributeValues={":end": end},
    )

    counted(pipeline, [2 * PAGE_MAX - 3])
    counted(pipeline, [2 * PAGE_MAX + 5])

    watcher.check_in_the_end()
    assert ends(watcher)[-1] == 2 * PAGE_MAX + 8


def test_events_of_one_millisecond_stay_in_one_page(pipeline, watcher):
    counted(pipeline, [number // PAGE_MAX for number in range(PAGE_MAX + PAGE_MAX // 2)])

    watcher.check_in_the_end()
    assert len(ends(watcher)) == 2


def test_recent_events_of_one_millisecond_are_archived_together(pipeline, watcher):
    now_ms = time.time_ns() // 1_000_000 - A_TIME_MS
    counted(pipeline, [now_ms] * RECENT_MAX)

    counted(pipeline, [now_ms])

    watcher.check_in_the_end()
    (part,) = watcher.parts()
    assert part.recent == []


def test_entries_of_the_last_seconds_stay_recent(pipeline, watcher):
    now_ms = time.time_ns() // 1_000_000 - A_TIME_MS
    counted(pipeline, [now_ms - number for number in range(RECENT_MAX)])

    counted(pipeline, [now_ms + 1])

    watcher.check_in_the_end()
    (part,) = watcher.parts()
    assert len(part.recent) >= KEPT_MIN


def test_negative_amount_is_archived_unchanged(pipeline, watcher):
    correction = an_adjustment(counter_id=pipeline.counter_id, by=-3, recorded_at_ms=A_TIME_MS)
    pipeline.log([correction])
    pipeline.count(correction)

    counted(pipeline, range(RECENT_MAX))

    (part,) = watcher.parts()
    assert (A_TIME_MS, correction.event_id, -3) in part.pages[max(part.pages)]
    assert pipeline.value == RECENT_MAX - 3
