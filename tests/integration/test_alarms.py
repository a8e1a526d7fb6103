"""Alarms, dashboards and notifications of a provisioned stage."""

import json
import shutil
import subprocess
import sys
import uuid
from typing import Any

import boto3
import pytest

import app
from chalicelib import event_log, settings, telemetry
from chalicelib.projections import READ_MODEL, SQL
from ops import stages
from ops.deployment import provision
from testkit.builders import a_scheduled_turn, an_event
from tests.environments import environment

#: The AWS metrics that the stage uses, by namespace, with their dimensions (the services' guides: "Monitoring queues
#: using CloudWatch", "Types of metrics for Lambda functions", "Amazon API Gateway dimensions and metrics", "DynamoDB
#: metrics and dimensions").
MEASURED_BY_AWS = {
    "AWS/SQS": (
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
        },
        {"QueueName"},
    ),
    "AWS/Lambda": (
        {
            "Duration",
            "Errors",
            "Invocations",
            "IteratorAge",
            "Throttles",
            "Url4xxCount",
            "Url5xxCount",
            "UrlRequestCount",
        },
        {"FunctionName"},
    ),
    "AWS/ApiGateway": ({"4XXError", "5XXError", "Count", "Latency"}, {"ApiName", "Stage"}),
    "AWS/DynamoDB": (
        {"ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"},
        {"TableName"},
    ),
}
MEASURED = MEASURED_BY_AWS | {telemetry.NAMESPACE: (set(telemetry.METRICS), {"service", "stage"})}

#: The name of a stage that has a second projection.
WITH_SQL = "two-projections"

#: Alarms that send no message when they end: in a quiet stage, the next event would cause such a message.
WITHOUT_END = {f"counter-{stage}-counting-stopped" for stage in ("pipeline", WITH_SQL)}

#: Metrics that each function has.
OF_EACH_FUNCTION = {"Errors", "Throttles"}


@pytest.fixture(scope="session")
def stage_with_sql(place, tmp_path_factory):
    """Return the outputs of a stage with a second projection."""
    file = tmp_path_factory.mktemp("sql") / "read-model.sqlite"
    return provision.provision(settings.read({"STAGE": WITH_SQL, "COUNTERS": "*", "SQL_URL": f"sqlite:///{file}"}))


@pytest.fixture(params=["pipeline", WITH_SQL])
def name(request, stage, stage_with_sql):
    """Return the name of a stage: once without SQL, once with it."""
    return request.param


def alarms_of(stage):
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"counter-{stage}-")
    return [alarm for page in pages for alarm in page["MetricAlarms"]]


@pytest.fixture
def alarms(name):
    """Return the stage's alarms."""
    return alarms_of(name)


@pytest.fixture
def dashboard(name):
    """Return the widgets of the stage's dashboards."""
    names = [f"counter-{name}", *([f"counter-{name}-sql"] if name == WITH_SQL else [])]
    bodies = [boto3.client("cloudwatch").get_dashboard(DashboardName=one)["DashboardBody"] for one in names]
    return {"widgets": [widget for body in bodies for widget in json.loads(body)["widgets"]]}


@pytest.fixture
def at_rest(stage):
    """Set all alarms to OK, regardless of the metrics of other tests."""
    for alarm in alarms_of("pipeline"):
        boto3.client("cloudwatch").set_alarm_state(
            AlarmName=alarm["AlarmName"], StateValue="OK", StateReason="a test begins"
        )


@pytest.fixture
def subscriber(stage):
    """Subscribe to the stage's alarms. Return a function that reads the notifications since its last call."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=f"alarmed-{uuid.uuid4()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": stage["AlarmTopicArn"]}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns: Any = boto3.client("sns")
    subscription = sns.subscribe(
        TopicArn=stage["AlarmTopicArn"], Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True
    )["SubscriptionArn"]

    def read():
        found: list[Any] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [json.loads(json.loads(message["Body"])["Message"]) for message in messages]
        return found

    yield read
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def whole_log_at_each_check():
    """Let each run of the scheduled check read the whole log."""
    with environment(CHECK_EVENTS="1000000"):
        yield


def looked_at(alarms, dashboard):
    """Return namespace, metric and dimensions of everything that alarms and dashboard use."""
    for alarm in alarms:
        parts = [part["MetricStat"]["Metric"] for part in alarm.get("Metrics", []) if "MetricStat" in part]
        for watched in parts or [alarm]:
            named = {one["Name"]: one["Value"] for one in watched["Dimensions"]}
            yield watched["Namespace"], watched["MetricName"], named
    for widget in dashboard["widgets"]:
        for row in widget["properties"].get("metrics", []):
            namespace, metric, *dimensions = [part for part in row if isinstance(part, str)]
            yield namespace, metric, dict(zip(dimensions[::2], dimensions[1::2], strict=True))


def functions_of(stage):
    """Return the names of the stage's functions."""
    named = {name for name in stages.FUNCTIONS.values() if name != "api"}
    named |= {SQL.function} if stage == WITH_SQL else set()
    return {f"counter-{stage}", *(f"counter-{stage}-{name}" for name in named)}


def measure(line):
    """Put the metrics of a line in the embedded format into CloudWatch, as AWS does for log lines."""
    for described in line["_aws"]["CloudWatchMetrics"]:
        (names,) = described["Dimensions"]
        dimensions = [{"Name": name, "Value": line[name]} for name in names]
        data: Any = [
            {"MetricName": one["Name"], "Unit": one["Unit"], "Values": line[one["Name"]], "Dimensions": dimensions}
            for one in described["Metrics"]
        ]
        boto3.client("cloudwatch").put_metric_data(Namespace=described["Namespace"], MetricData=data)


def test_every_watched_metric_exists(alarms, dashboard):
    for namespace, metric, dimensions in looked_at(alarms, dashboard):
        metrics, names = MEASURED[namespace]
        assert metric in metrics
        assert set(dimensions) == names


def test_every_alarm_watches_resources_of_its_own_stage(name, alarms, dashboard):
    ours = settings.read({"STAGE": name, "COUNTERS": "*", "SQL_URL": "sqlite:///file" if name == WITH_SQL else ""})
    existing = {
        "QueueName": {queue(name) for one in ours.projections for queue in (one.queue, one.dead_letter_queue)},
        "TableName": {ours.event_log_table, ours.counters_table, ours.archive_table, ours.catalog_table},
        "FunctionName": functions_of(ours.stage),
        "ApiName": {f"counter-{ours.stage}"},
        "Stage": {"api"},
        "service": {telemetry.SERVICE},
        "stage": {ours.stage},
    }

    seen: dict[str, set[str]] = {}
    for _, _, dimensions in looked_at(alarms, dashboard):
        for kind, value in dimensions.items():
            seen.setdefault(kind, set()).add(value)

    assert seen == existing


def test_errors_and_throttles_of_every_function_have_an_alarm(name, alarms):
    watched = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"])
        for alarm in alarms
        if alarm["MetricName"] in OF_EACH_FUNCTION
    }

    assert watched == {(metric, function) for metric in OF_EACH_FUNCTION for function in functions_of(name)}


def test_every_metric_of_the_application_is_on_the_dashboard(name, dashboard):
    shown = {metric for namespace, metric, _ in looked_at([], dashboard) if namespace == telemetry.NAMESPACE}

    assert shown == set(telemetry.list_metrics([READ_MODEL, SQL] if name == WITH_SQL else [READ_MODEL]))


def test_every_alarm_is_on_the_dashboard_and_notifies_the_topic(name, stage, stage_with_sql, alarms, dashboard):
    """The topic is notified on ALARM and, except for `WITHOUT_END`, on OK."""
    lists = [widget["properties"]["alarms"] for widget in dashboard["widgets"] if widget["type"] == "alarm"]
    topic = (stage_with_sql if name == WITH_SQL else stage)["AlarmTopicArn"]

    assert sorted(arn for shown in lists for arn in shown) == sorted(alarm["AlarmArn"] for alarm in alarms)
    for alarm in alarms:
        tells_the_end = alarm["AlarmName"] not in WITHOUT_END
        assert alarm["AlarmActions"] == [topic]
        assert alarm["OKActions"] == ([topic] if tells_the_end else [])


def test_findings_of_the_check_raise_alarms_and_reach_subscribers(
    pipeline, at_rest, subscriber, whole_log_at_each_check, capsys
):
    event_log.append(an_event(counter_id=pipeline.counter_id))
    pipeline.count(an_event(counter_id=pipeline.counter_id))  # which is not in the log
    capsys.readouterr()

    app.check(a_scheduled_turn(), None)

    (line,) = [line for text in capsys.readouterr().out.splitlines() if "_aws" in (line := json.loads(text))]
    measure(line)
    states = {one["AlarmName"]: one["NewStateValue"] for one in subscriber()}
    assert (states["counter-pipeline-drift"], states["counter-pipeline-repaired"]) == ("ALARM", "ALARM")


@pytest.fixture
def counting_stopped(stage):
    """
    Return a function that puts the metrics of these lines into CloudWatch, and returns the resulting alarm state.

    The alarm is a copy in a separate namespace, without the metrics of other tests. The embedded AWS evaluates the copy
    when data arrives, on all data of the last 10 minutes. This fixture therefore tests only the reported metrics, and
    `tests/unit/test_template.py` tests when the alarm goes off.
    """
    cloudwatch = boto3.client("cloudwatch")
    (original,) = cloudwatch.describe_alarms(AlarmNames=["counter-pipeline-counting-stopped"])["MetricAlarms"]
    name = f"copy-{uuid.uuid4()}"
    kept = ("MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator")
    copy: Any = {key: original[key] for key in (*kept, "TreatMissingData", "AlarmActions", "OKActions")}
    cloudwatch.put_metric_alarm(**copy, AlarmName=name, Namespace=name)

    def state(lines):
        for line in lines:
            for described in line.get("_aws", {}).get("CloudWatchMetrics", []):
                described["Namespace"] = name
            if "_aws" in line:
                measure(line)
        (found,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return found["StateValue"]

    yield state
    cloudwatch.delete_alarms(AlarmNames=[name])


@pytest.fixture
def written(capsys):
    """Return a function that returns the lines written since the last time."""
    capsys.readouterr()
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_counting_stopped_alarm_goes_off_if_publish_is_disabled(pipeline, counting_stopped, subscriber, written):
    for _ in range(25):
        pipeline.increment()

    state = counting_stopped(written())

    assert state == "ALARM"
    assert [one["NewStateValue"] for one in subscriber()] == ["ALARM"]


def test_counting_stopped_alarm_goes_off_if_project_is_disabled(pipeline, counting_stopped, written):
    pipeline.increment()
    pipeline.publish(pipeline.new_records())

    state = counting_stopped(written())

    assert state == "ALARM"


@pytest.mark.parametrize("headers", [{}, {"Prefer": "return=representation"}, {"If_Match": '"0"'}])
def test_counting_stopped_alarm_ends_when_events_arrive(pipeline, counting_stopped, written, headers):
    """An event that was counted at once arrives as a duplicate, which ends the alarm as well."""
    pipeline.increment(**headers)
    stopped = counting_stopped(written())
    pipeline.publish(pipeline.new_records())
    pipeline.project(pipeline.published())

    state = counting_stopped(written())

    assert (stopped, state) == ("ALARM", "OK")


def test_function_logs_have_a_retention_period(name):
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/counter-{name}")["logGroups"]

    kept = {group["logGroupName"]: group["retentionInDays"] for group in groups}
    assert kept == {f"/aws/lambda/{function}": 30 for function in functions_of(name)}


def test_stage_without_sql_has_no_sql_queue(stage):
    resources = boto3.client("cloudformation").describe_stack_resources(StackName="counter-pipeline-data")
    made = {
        resource["PhysicalResourceId"].rpartition("/")[2]
        for resource in resources["StackResources"]
        if resource["ResourceType"] == "AWS::SQS::Queue"
    }
    assert made == {"counter-pipeline-projection", "counter-pipeline-projection-dead-letter"}


@pytest.mark.parametrize("name", ["pipeline"], indirect=True)
def test_resources_are_tagged_with_application_and_stage(stage, alarms):
    wanted: Any = [{"Key": "application", "Values": ["counter"]}, {"Key": "stage", "Values": ["pipeline"]}]
    pages = boto3.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=wanted)
    (group, *_) = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/counter-pipeline")[
        "logGroups"
    ]

    tagged = {one["ResourceARN"].split(":")[2] for page in pages for one in page["ResourceTagMappingList"]}
    alarm = boto3.client("cloudwatch").list_tags_for_resource(ResourceARN=alarms[0]["AlarmArn"])["Tags"]
    log = boto3.client("logs").list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]

    assert tagged >= {"dynamodb", "sns", "sqs"}
    for tags in (log, {tag["Key"]: tag["Value"] for tag in alarm}):
        assert (tags["application"], tags["stage"]) == ("counter", "pipeline")


def test_stage_without_monitoring_has_only_logs(stage, tmp_path):
    for folder in ("chalicelib", "infrastructure", "ops", ".chalice"):
        shutil.copytree(stages.PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    quiet = {
        "environment_variables": {"STAGE": "quiet", "COUNTERS": "*"},
        "template_parameters": {"Watching": "off", "LogDays": 7},
    }
    (tmp_path / ".chalice" / "config.json").write_text(json.dumps({"stages": {"quiet": quiet}}), encoding="utf-8")

    command = [sys.executable, "-m", "ops", "provision", "--stage", "quiet", "--json"]
    provisioned = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    cloudwatch = boto3.client("cloudwatch")
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/counter-quiet")["logGroups"]
    assert "AlarmTopicArn" not in json.loads(provisioned.stdout)
    assert cloudwatch.describe_alarms(AlarmNamePrefix="counter-quiet")["MetricAlarms"] == []
    assert cloudwatch.list_dashboards(DashboardNamePrefix="counter-quiet")["DashboardEntries"] == []
    assert {group["retentionInDays"] for group in groups} == {7}
