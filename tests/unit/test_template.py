"""The template, read as AWS reads it, where the embedded AWS is more tolerant."""

import json
import re

import pytest
from samtranslator.yaml_helper import yaml_parse

from ops.deployment import template
from ops.stages import PROJECT
from tests.alarms import OK, Alarm, states

TEMPLATE = (PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")

#: The longest value of each. No name of a region in AWS's main partition has more than 14 characters.
LONGEST = {"Stage": "s" * 20, "AWS::AccountId": "0" * 12, "AWS::Region": "ap-southeast-1"}

#: S3 user guide, "General purpose bucket naming rules"; the names are shared by all regions and accounts.
LONGEST_BUCKET_NAME = 63

BUCKETS = re.findall(r"^ +BucketName: .*!Sub \"?([^\s\"]+)", TEMPLATE, re.MULTILINE)


def resource(name):
    return TEMPLATE.partition(f"\n  {name}:\n")[2].partition("\n\n")[0]


def number(name, of):
    return int(re.findall(rf"^ +{name}: (\d+)$", resource(of), re.MULTILINE)[0])


def text(name, of):
    return re.findall(rf"^ +{name}: (\w+)$", resource(of), re.MULTILINE)[0]


def alarm(name):
    return Alarm(
        periods=number("EvaluationPeriods", name),
        threshold=number("Threshold", name),
        comparison=text("ComparisonOperator", name),
        missing=text("TreatMissingData", name),
    )


def test_data_template_is_the_same_without_comments_well_below_the_limit():
    """CloudFormation's limit is 51,200 bytes."""
    body = template.render_data()

    assert yaml_parse(body) == yaml_parse(TEMPLATE)
    assert "#" not in body
    assert len(body.encode()) < 0.82 * 51_200


def test_both_buckets_have_a_generated_name():
    assert len(BUCKETS) == TEMPLATE.count("Type: AWS::S3::Bucket\n") == 2


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_name_is_valid_for_any_stage_in_any_region(name):
    assert {f"${{{part}}}" for part in LONGEST} <= set(re.findall(r"\$\{[^}]+\}", name))
    assert len(re.sub(r"\$\{([^}]+)\}", lambda part: LONGEST[part[1]], name)) <= LONGEST_BUCKET_NAME


def test_artifacts_never_expire():
    """An old package is needed again when a deployment is rolled back."""
    assert "ExpirationInDays" not in TEMPLATE


def test_event_log_is_retained_protected_and_backed_up():
    assert "DeletionPolicy: Retain" in resource("EventLog")
    assert "UpdateReplacePolicy: Retain" in resource("EventLog")
    assert "DeletionProtectionEnabled: !If [IsLocal, false, true]" in resource("EventLog")
    assert "PointInTimeRecoveryEnabled: true" in resource("EventLog")


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("EventLog", [("partition", "S", "HASH"), ("event_id", "S", "RANGE")]),
        ("Counters", [("counter_id", "S", "HASH"), ("part", "N", "RANGE")]),
        ("Archive", [("partition", "S", "HASH"), ("end", "N", "RANGE")]),
    ],
)
def test_table_has_the_keys_of_its_model(table, keys):
    found = resource(table)

    types = dict(re.findall(r"AttributeName: (\w+), AttributeType: (\w)", found))
    kinds = re.findall(r"AttributeName: (\w+), KeyType: (\w+)", found)
    assert [(name, types.pop(name), kind) for name, kind in kinds] == keys
    assert types == {}


def test_message_stays_hidden_six_timeouts_and_is_given_up_in_an_hour():
    functions = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))["lambda_functions"]
    hidden_s = number("VisibilityTimeout", "ProjectionQueue")

    assert hidden_s == 6 * functions["project"]["lambda_timeout"]
    assert hidden_s * number("maxReceiveCount", "ProjectionQueue") == 3600


#: The minutes for which a simulated stage runs: long enough for every alarm to go off and to end.
MINUTES = 120

#: From recorded to delivered, at worst: BATCHING_WINDOW_S of 5 minutes, or a redelivery 3 minutes later.
SLOWEST_S = 305


def delivered(recorded_s, delay_s, works):
    """
    Return `Delivered` for each minute as CloudWatch would have it: its maximum, or None without a data point.

    Each event adds 0 when it is recorded, and 1 when it is delivered, if `works` is true at that time.
    """
    highest: list[int | None] = [None] * MINUTES
    for at in recorded_s:
        highest[int(at // 60)] = highest[int(at // 60)] or 0
    for at in (at + delay_s for at in recorded_s if works(at + delay_s)):
        highest[int(at // 60)] = 1
    return highest


#: The times of events, in seconds: steady, sparse, in a burst, and a single event at different seconds of a minute.
TRAFFIC: dict[str, list[float]] = {
    "10 a second": [second / 10 for second in range(60 * 600)],
    "1 a minute": [minute * 60 + 59 for minute in range(60)],
    "1 each 5 minutes": [minute * 60 + 59 for minute in range(0, 60, 5)],
    "1 each 17 minutes": [minute * 60 + 59 for minute in range(0, 60, 17)],
    "a burst of 25": [1799.9 + n / 100 for n in range(25)],
    **{f"a lone one at second {second}": [1800 + second] for second in (0, 1, 30, 57, 58, 59)},
}


@pytest.mark.parametrize("delay_s", [0.5, 2, 61, 185, SLOWEST_S])
@pytest.mark.parametrize("traffic", TRAFFIC)
def test_counting_stopped_alarm_is_silent_while_events_are_delivered(traffic, delay_s):
    found = states(alarm("CountingStopped"), delivered(TRAFFIC[traffic], delay_s, lambda _: True))

    assert "ALARM" not in found


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_counting_stopped_alarm_goes_off_if_nothing_is_delivered(traffic):
    """If an event source is disabled from the start, the alarm is on at most 13 minutes after the first event."""
    recorded = TRAFFIC[traffic]

    found = states(alarm("CountingStopped"), delivered(recorded, 2, lambda _: False))

    assert found.index("ALARM") - recorded[0] // 60 <= 13


@pytest.mark.parametrize("traffic", ["10 a second", "1 a minute", "1 each 5 minutes", "1 each 17 minutes"])
def test_counting_stopped_alarm_goes_off_after_an_event_source_stops(traffic):
    """Measure from the first event that is not delivered."""
    stopped_s = 1500
    recorded = TRAFFIC[traffic]

    found = states(alarm("CountingStopped"), delivered(recorded, 2, lambda at: at < stopped_s))

    first_lost = next(at for at in recorded if at + 2 >= stopped_s) // 60
    assert "ALARM" not in found[: int(first_lost)]
    assert found.index("ALARM") - first_lost <= 13


def test_counting_stopped_alarm_looks_at_each_minute():
    assert (text("MetricName", "CountingStopped"), text("Statistic", "CountingStopped")) == ("Delivered", "Maximum")
    assert number("Period", "CountingStopped") == 60


def test_counting_stopped_alarm_sends_no_message_when_traffic_resumes():
    assert "      OKActions" not in resource("CountingStopped")


HOUR_S, DAY_S = 3600, 86400


def test_check_behind_alarm_goes_off_if_a_pass_takes_over_a_day():
    hours = [HOUR_S * hour for hour in range(40)]

    found = states(alarm("CheckBehind"), hours)

    assert found.index("ALARM") == 25
    assert set(found[25:]) == {"ALARM"}


def test_check_behind_alarm_is_silent_if_each_pass_takes_a_day():
    found = states(alarm("CheckBehind"), [HOUR_S * (hour % 25) for hour in range(100)])

    assert "ALARM" not in found


def test_check_behind_alarm_stays_on_while_runs_are_missing():
    found = states(alarm("CheckBehind"), [DAY_S + 1, None, None, None, 0])

    assert found == ["ALARM", "ALARM", "ALARM", "ALARM", OK]


def test_check_silent_alarm_goes_off_after_three_hours_without_a_run():
    """One run that is late by an hour raises no alarm."""
    runs = [1, 1, None, 1, 1, None, None, None, None, None, None, 1]

    found = states(alarm("CheckSilent"), runs)

    assert "ALARM" not in found[:6]
    assert "ALARM" in found[6:11]
    assert found[-1] == OK


def test_check_silent_alarm_goes_off_if_no_run_ever_finished():
    assert states(alarm("CheckSilent"), [None, None])[-1] == "ALARM"


#: The examples of AWS's guide for 3 of 3 data points ("Configuring how CloudWatch alarms treat missing data"): X is a
#: breaching data point, 0 is not, and - is missing; then the state if missing data is `missing`, `ignore`, `breaching`
#: or `notBreaching`. None means the previous state.
DOCUMENTED = [
    ("0 - X - X", ["OK", "OK", "OK", "OK"]),
    ("0 - - - -", ["OK", "OK", "OK", "OK"]),
    ("- - - - -", ["INSUFFICIENT_DATA", None, "ALARM", "OK"]),
    ("0 X X - X", ["ALARM", "ALARM", "ALARM", "ALARM"]),
    ("- - X - -", ["ALARM", None, "ALARM", "OK"]),
]


@pytest.mark.parametrize("before", ["OK", "ALARM"])
@pytest.mark.parametrize("treatment", ["missing", "ignore", "breaching", "notBreaching"])
@pytest.mark.parametrize(("points", "expected"), DOCUMENTED)
def test_alarm_evaluator_agrees_with_the_examples_of_aws(points, expected, treatment, before):
    which = Alarm(periods=3, threshold=0, comparison="GreaterThanThreshold", missing=treatment)
    series = [{"X": 1.0, "0": 0.0, "-": None}[point] for point in points.split()]
    wanted = dict(zip(["missing", "ignore", "breaching", "notBreaching"], expected, strict=True))[treatment]
    assert which.state(series, before) == (wanted or before)


@pytest.mark.parametrize("series", [[None, None, None, None, 1.0], [None, None, None, 1.0, None]])
def test_alarm_evaluator_waits_for_the_periods_after_a_breaching_one(series):
    which = Alarm(periods=3, threshold=0, comparison="GreaterThanThreshold", missing="missing")

    assert which.state(series, OK) == OK


@pytest.mark.parametrize("name", ["template", "projection"])
def test_dead_letter_alarm_counts_hidden_messages(name):
    """A message that a consumer has received is still on the queue, even if the consumer was killed."""
    resources = yaml_parse((PROJECT / "infrastructure" / f"{name}.yaml").read_text(encoding="utf-8"))["Resources"]
    alarm = resources["DeadLetterQueueNotEmpty"]["Properties"]

    (total,) = [part for part in alarm["Metrics"] if part.get("ReturnData", True)]
    metrics = {part["Id"]: part["MetricStat"] for part in alarm["Metrics"] if part is not total}
    assert total["Expression"].split(" + ") == [*metrics]
    assert {metric["Metric"]["MetricName"] for metric in metrics.values()} == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
    }
    for metric in metrics.values():
        (dimension,) = metric["Metric"]["Dimensions"]
        assert "DeadLetterQueue.QueueName" in str(dimension["Value"]).replace("', '", ".")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
    assert "MetricName" not in alarm
