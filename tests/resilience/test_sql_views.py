"""Compare the views with a computation in Python, at the edges of hours, days, weeks and integers."""

import datetime
import itertools
import random
from collections import defaultdict
from datetime import UTC, timedelta

import pytest
from sqlalchemy import select

from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS
from chalicelib.extras.sql import read_model, schema
from testkit.builders import an_adjustment, an_event

pytestmark = pytest.mark.sample(1)

HOUR_MS = 3_600_000

#: A Monday, and midnight.
MONDAY_MS = 1_704_067_200_000


@pytest.fixture(params=range(3))
def events(request, database):
    """Count events of three counters, many of them at an edge of an hour, a day or a week. Return the events."""
    chance = random.Random(request.param)
    edges = [MONDAY_MS + weeks * 7 * 24 * HOUR_MS + ms for weeks in (0, 1, 2, 5) for ms in (-1, 0, 1, HOUR_MS)]
    times = [*edges, 0, LATEST_MS, *(MONDAY_MS + chance.randrange(40 * 24) * HOUR_MS // 2 for _ in range(60))]
    events = [
        an_adjustment(counter_id=chance.choice("abc"), by=-chance.randint(1, 9), recorded_at_ms=ms)
        if chance.random() < 0.2
        else an_event(
            counter_id=chance.choice("abc"), by=chance.choice([1, 7, LARGEST_AMOUNT // 99]), recorded_at_ms=ms
        )
        for ms in times
    ]
    read_model.count(chance.sample(events, len(events)))
    return events


def query_view(name, *order):
    """Return the rows of a view."""
    (view,) = (view.table for view in schema.views if view.table.name == name)
    with read_model.client().connect() as connection:
        return [tuple(row) for row in connection.execute(select(view).order_by(*(view.c[column] for column in order)))]


def time_of(event):
    return datetime.datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=event.recorded_at_ms)


def hour_of(event):
    return time_of(event).replace(minute=0, second=0, microsecond=0)


def day_of(event):
    return time_of(event).date()


def week_of(event):
    return day_of(event) - timedelta(days=day_of(event).weekday())


def sum_by_step(events, step):
    """Return number and sum of the events by counter and step."""
    amounts_by_key = defaultdict(list)
    for event in events:
        amounts_by_key[event.counter_id, step(event)].append(event.by)
    return {key: (len(amounts), sum(amounts)) for key, amounts in amounts_by_key.items()}


@pytest.mark.parametrize(
    ("view", "column", "step"), [("hourly", "hour", hour_of), ("daily", "day", day_of), ("weekly", "week", week_of)]
)
def test_view_by_hour_day_or_week_has_number_and_sum_of_events(events, view, column, step):
    assert query_view(view, "counter_id", column) == [
        (*key, *totals) for key, totals in sorted(sum_by_step(events, step).items())
    ]


def test_top_counters_are_ranked_by_value(events):
    sums = {
        name: (sum(e.by for e in events if e.counter_id == name), sum(e.counter_id == name for e in events))
        for name in "abc"
    }
    ranked = sorted(sums.items(), key=lambda item: -item[1][0])

    assert query_view("top_counters", "rank") == [(n, name, *state) for n, (name, state) in enumerate(ranked, start=1)]


def test_busiest_hour_of_a_counter_has_its_most_events(events):
    hours = sum_by_step(events, hour_of)
    busiest = {
        name: min((-number, hour, total) for (owner, hour), (number, total) in hours.items() if owner == name)
        for name in "abc"
    }

    assert query_view("busiest_hour", "counter_id") == [
        (name, hour, -number, total) for name, (number, hour, total) in busiest.items()
    ]


def test_weekly_growth_compares_with_the_week_before(events):
    weeks = sum_by_step(events, week_of)
    expected = []
    for (name, week), (number, total) in sorted(weeks.items()):
        before = weeks.get((name, week - timedelta(days=7)), (0, 0))[0]
        growth = number - before
        percent = int(100 * growth / before) if before else None
        expected.append((name, week, number, total, before, growth, percent))

    assert query_view("weekly_growth", "counter_id", "week") == expected
    assert any(row[4] for row in expected), "no week follows another"


def test_value_at_has_a_row_for_each_state_of_a_counter(events):
    """Events of one millisecond lead to one state."""
    expected = []
    for name in "abc":
        own = [event for event in events if event.counter_id == name]
        times = sorted({time_of(event) for event in own})
        for since, until in itertools.pairwise([*times, None]):
            amounts = [event.by for event in own if time_of(event) <= since]
            expected.append((name, sum(amounts), len(amounts), since, until))

    assert query_view("value_at", "counter_id", "since") == expected


def test_running_totals_add_up_in_order_of_time(events):
    in_order = sorted(events, key=lambda event: (event.counter_id, event.recorded_at_ms, event.event_id))
    expected = []
    for _, group in itertools.groupby(in_order, key=lambda event: event.counter_id):
        counter_events = list(group)
        totals = itertools.accumulate(event.by for event in counter_events)
        expected += [
            (event.event_id, time_of(event), total) for event, total in zip(counter_events, totals, strict=True)
        ]

    rows = query_view("running_totals", "counter_id", "recorded_at", "event_id")

    assert [(row[1], row[4], row[6]) for row in rows] == expected
