"""The template, read as AWS reads it, where the embedded AWS is more generous."""

from __future__ import annotations

import json
import re

import pytest

from ops.stages import PROJECT

TEMPLATE = (PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")

#: The longest that each may be; no name of a region in AWS's main partition has more than 14 letters.
LONGEST = {"Stage": "s" * 20, "AWS::AccountId": "0" * 12, "AWS::Region": "ap-southeast-1"}

#: S3 user guide, "General purpose bucket naming rules"; the names are shared by all regions and accounts.
MOST_OF_A_BUCKET = 63

BUCKETS = re.findall(r"^ +BucketName: .*!Sub \"?([^\s\"]+)", TEMPLATE, re.MULTILINE)


def test_both_buckets_have_a_name_of_our_own():
    assert len(BUCKETS) == TEMPLATE.count("Type: AWS::S3::Bucket\n") == 2


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_has_a_name_that_s3_takes_for_any_stage_in_any_region(name):
    assert {f"${{{part}}}" for part in LONGEST} <= set(re.findall(r"\$\{[^}]+\}", name))
    assert len(re.sub(r"\$\{([^}]+)\}", lambda part: LONGEST[part[1]], name)) <= MOST_OF_A_BUCKET


def test_no_package_is_forgotten_that_undoing_a_deployment_would_need():
    assert "ExpirationInDays" not in TEMPLATE


def resource(name):
    return TEMPLATE.partition(f"\n  {name}:\n")[2].partition("\n\n")[0]


def number(name, of):
    return int(re.findall(rf"^ +{name}: (\d+)$", resource(of), re.MULTILINE)[0])


def test_the_log_is_kept_protected_and_backed_up():
    assert "DeletionPolicy: Retain" in resource("EventLog")
    assert "UpdateReplacePolicy: Retain" in resource("EventLog")
    assert "DeletionProtectionEnabled: !If [IsLocal, false, true]" in resource("EventLog")
    assert "PointInTimeRecoveryEnabled: true" in resource("EventLog")


def test_a_message_is_hidden_for_six_times_as_long_as_project_may_take_and_given_up_after_an_hour_of_that():
    functions = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))["lambda_functions"]
    hidden_s = number("VisibilityTimeout", "ProjectionQueue")

    assert hidden_s == 6 * functions["project"]["lambda_timeout"]
    assert hidden_s * number("maxReceiveCount", "ProjectionQueue") == 3600
