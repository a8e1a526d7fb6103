"""CloudFormation stacks: apply a template, and read what it made. The same on the embedded AWS and a real account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from ops.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_cloudformation import CloudFormationClient

_NEVER_MADE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"}


def apply(name: str, template: str, parameters: Mapping[str, str], *, stage: str) -> dict[str, str]:
    """
    The stack stands as the template says, made or changed as needed; nothing happens if it stands so already.

    Returns its outputs. What it makes is tagged with the application and the stage. A second call while the first is at
    work is refused.

    Raises:
        OperatorError: CloudFormation refuses; the message has the first reason it gave.
    """
    client = boto3.client("cloudformation")
    request: Any = {
        "StackName": name,
        "TemplateBody": template,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        "Tags": [{"Key": "application", "Value": "counter"}, {"Key": "stage", "Value": stage}],
    }
    status = _status(client, name)
    try:
        if status is None:
            client.create_stack(**request)
            client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        elif status in _NEVER_MADE:
            raise OperatorError(
                f"Stack {name} is in state {status}: it was never made whole. Look at its events for the reason, "
                f"delete it (aws cloudformation delete-stack --stack-name {name}), and run this again."
            )
        else:
            client.update_stack(**request)
            client.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    except WaiterError as error:
        raise OperatorError(f"Stack {name} could not be applied: {_first_failure(client, name)}") from error
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise OperatorError(f"Stack {name} could not be applied: {error}") from error
    return outputs(name)


def outputs(name: str) -> dict[str, str]:
    """
    What the stack gives out, by output name.

    Raises:
        OperatorError: there is no such stack.
    """
    try:
        stack = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        raise OperatorError(f"There is no stack {name} here: run provision first. ({error})") from error
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def exists(name: str) -> bool:
    """Whether there is such a stack, in whatever state."""
    return _status(boto3.client("cloudformation"), name) is not None


def _status(client: CloudFormationClient, name: str) -> str | None:
    try:
        return client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise OperatorError(f"CloudFormation does not answer as it should: {error}") from error


def _first_failure(client: CloudFormationClient, name: str) -> str:
    events = client.describe_stack_events(StackName=name)["StackEvents"]
    failures = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    if not failures:
        return "it gave no reason"
    first = failures[-1]
    return f"{first.get('LogicalResourceId')}: {first.get('ResourceStatusReason', 'no reason given')}"
