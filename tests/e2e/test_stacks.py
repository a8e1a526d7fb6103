"""Stacks in states that an operator must resolve: each error states the state, the cause and the fix."""

import json
import uuid
from typing import Any

import boto3
import pytest

from ops.cli.errors import OperatorError
from ops.deployment import stacks


def a_template(**resources):
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})


def a_queue(name):
    return {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}


def a_broken_queue():
    return {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 43201}}


@pytest.fixture
def name(place):
    """Return the name of a stack, which is deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    stacks.delete(name)


@pytest.mark.exhaustive
def test_failed_create_reports_the_cause_and_the_way_out(name):
    with pytest.raises(OperatorError, match=rf"Stack {name} could not be applied.* ROLLBACK_COMPLETE\. .*: Broken, "):
        stacks.apply(name, a_template(Queue=a_queue(name), Broken=a_broken_queue()), {}, stage="stacks")

    with pytest.raises(
        OperatorError, match=r"never created completely\. .*delete-stack --stack-name .* First failure: Broken"
    ):
        stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")


@pytest.mark.exhaustive
def test_failed_update_is_rolled_back_and_reports_its_own_cause(name):
    stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")
    with pytest.raises(OperatorError, match=r"UPDATE_ROLLBACK_COMPLETE\. First failure: First"):
        stacks.apply(name, a_template(Queue=a_queue(name), First=a_broken_queue()), {}, stage="stacks")

    with pytest.raises(OperatorError, match=r"UPDATE_ROLLBACK_COMPLETE\. First failure: Second"):
        stacks.apply(name, a_template(Queue=a_queue(name), Second=a_broken_queue()), {}, stage="stacks")


@pytest.mark.exhaustive
def test_failed_delete_reports_the_cause_and_can_be_repeated(name):
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
    with pytest.raises(OperatorError, match=r"DELETE_FAILED: its deletion failed\. Fix the cause"):
        stacks.apply(name, a_template(Queue=a_queue(name)), {}, stage="stacks")
    boto3.client("ec2").delete_subnet(SubnetId=inside["SubnetId"])

    assert stacks.delete(name)
    assert not stacks.exists(name)


def test_missing_stack_is_reported_with_the_region(place):
    with pytest.raises(
        OperatorError, match=r"No such stack: none-such in us-east-1\. Run provision, or check the region"
    ):
        stacks.outputs("none-such")


@pytest.mark.exhaustive
def test_invalid_template_is_reported_in_the_words_of_cloudformation(name):
    with pytest.raises(OperatorError, match=f"Stack {name} could not be applied: "):
        stacks.apply(name, a_template(Unheard={"Type": "AWS::Of::Nothing"}), {}, stage="stacks")


@pytest.mark.parametrize("status", ["CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED"])
def test_stack_does_not_contain_failed_or_released_resources(status):
    listed: list[Any] = [
        {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "ours", "ResourceStatus": "CREATE_COMPLETE"},
        {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "somebody-elses", "ResourceStatus": status},
    ]

    assert stacks.select_held(listed) == [("AWS::S3::Bucket", "ours")]


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("UPDATE_IN_PROGRESS", "another operation is running. Run the command again afterwards"),
        (
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
            "another operation is running. Run the command again afterwards",
        ),
        ("REVIEW_IN_PROGRESS", "it was never created completely"),
        ("UPDATE_FAILED", "aws cloudformation rollback-stack --stack-name some"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name some"),
    ],
)
def test_stuck_state_has_a_way_out(status, hint):
    assert hint in str(stacks.describe_stuck_state("some", status))


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_stable_state_needs_no_way_out(status):
    assert stacks.describe_stuck_state("some", status) is None
