"""Stacks in states that block a deployment: each is one error line with the way out."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest

from ops.cli.errors import OperatorError
from ops.deployment import stacks

pytestmark = pytest.mark.exhaustive


def a_template(**resources):
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})


def a_queue(name):
    return {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}


def a_broken_queue():
    return {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 43201}}


@pytest.fixture
def name(place):
    """Return the name of a stack that is deleted after the test."""
    found = f"test-{uuid.uuid4().hex[:12]}"
    yield found
    stacks.delete(found)


def test_a_stack_that_was_never_made_whole_says_why_and_what_to_do(name):
    with pytest.raises(OperatorError, match=rf"Stack {name} could not be applied.* ROLLBACK_COMPLETE\. .*: Broken, "):
        stacks.apply(name, a_template(Queue=a_queue(name), Broken=a_broken_queue()), {}, stage="stacks")

    with pytest.raises(OperatorError, match=r"never made whole\. .*python -m ops destroy.* What failed first: Broken"):
        stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")


def test_an_update_that_fails_is_undone_and_tells_its_own_reason(name):
    stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")
    with pytest.raises(OperatorError, match=r"UPDATE_ROLLBACK_COMPLETE\. What failed first: First"):
        stacks.apply(name, a_template(Queue=a_queue(name), First=a_broken_queue()), {}, stage="stacks")

    with pytest.raises(OperatorError, match=r"UPDATE_ROLLBACK_COMPLETE\. What failed first: Second"):
        stacks.apply(name, a_template(Queue=a_queue(name), Second=a_broken_queue()), {}, stage="stacks")


def test_stack_that_cannot_be_deleted_reports_why_and_can_be_retried(name):
    stacks.apply(
        name,
        a_template(Network={"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}}),
        {},
        stage="stacks",
    )
    ((_, network),) = stacks.resources(name)
    inside = boto3.client("ec2").create_subnet(VpcId=network, CidrBlock="10.0.0.0/24")["Subnet"]
    with pytest.raises(OperatorError, match=rf"Stack {name} could not be deleted.* DELETE_FAILED\. .*: Network, "):
        stacks.delete(name)
    with pytest.raises(OperatorError, match=r"DELETE_FAILED: deleting it did not finish\. Mend the reason"):
        stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")
    boto3.client("ec2").delete_subnet(SubnetId=inside["SubnetId"])

    assert stacks.delete(name)
    assert not stacks.exists(name)


def test_missing_stack_is_reported_with_its_region(place):
    with pytest.raises(OperatorError, match="no stack none-such in us-east-1: run provision first, or look at your"):
        stacks.outputs("none-such")


def test_cloudformations_refusal_is_quoted(name):
    with pytest.raises(OperatorError, match=f"Stack {name} could not be applied: "):
        stacks.apply(name, a_template(Unheard={"Type": "AWS::Of::Nothing"}), {}, stage="stacks")


@pytest.mark.parametrize("status", ["CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED"])
def test_a_stack_does_not_hold_what_it_could_not_make_and_what_it_let_go(status):
    listed: list[Any] = [
        {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "ours", "ResourceStatus": "CREATE_COMPLETE"},
        {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "somebody-elses", "ResourceStatus": status},
    ]

    assert stacks.held(listed) == [("AWS::S3::Bucket", "ours")]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("UPDATE_IN_PROGRESS", "somebody is at work on it. Run this again when that is done"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "somebody is at work on it. Run this again when that is done"),
        ("REVIEW_IN_PROGRESS", "it was never made whole"),
        ("UPDATE_FAILED", "aws cloudformation rollback-stack --stack-name some"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name some"),
    ],
)
def test_every_state_that_is_in_the_way_has_its_way_out(status, told):
    assert told in str(stacks.way_out("some", status))


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_idle_stack_does_not_block(status):
    assert stacks.way_out("some", status) is None
