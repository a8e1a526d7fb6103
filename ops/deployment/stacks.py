"""CloudFormation stacks: apply a template, read what it made, delete it. The same on the embedded and the real AWS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops.cli import progress
from ops.cli.errors import OperatorError, OutageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackResourceSummaryTypeDef

_WAITS_S = 30 * 60
_LOOKS_EVERY_S = 5.0

_NEVER_WHOLE = (
    "it was never made whole. Mend the reason, remove what there is of it "
    "(python -m ops destroy, with --data if it was to hold the data), and run this again"
)
_WAYS_OUT = {
    "CREATE_FAILED": _NEVER_WHOLE,
    "ROLLBACK_COMPLETE": _NEVER_WHOLE,
    "ROLLBACK_FAILED": _NEVER_WHOLE,
    "REVIEW_IN_PROGRESS": _NEVER_WHOLE,
    "DELETE_FAILED": "deleting it did not finish. Mend the reason, and delete it again (python -m ops destroy)",
    "UPDATE_FAILED": (
        "an update failed and was left as it was. Undo it "
        "(aws cloudformation rollback-stack --stack-name {name}), and run this again"
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "an update failed and could not be undone. Mend the reason, finish undoing it "
        "(aws cloudformation continue-update-rollback --stack-name {name}), and run this again"
    ),
}


def apply(name: str, template: str, parameters: Mapping[str, str], *, stage: str) -> dict[str, str]:
    """
    The stack stands as the template says, made or changed as needed; nothing happens if it stands so already.

    Returns its outputs. What it makes is tagged with the application and the stage. A second call while the first is at
    work is refused.

    Raises:
        OperatorError: CloudFormation refuses, with the first reason it gave; or the stack is in a state that somebody
            has to lead it out of, and the message says how.
        OutageError: it takes longer than half an hour.
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
    if status and (stuck := way_out(name, status)):
        raise OperatorError(f"{stuck}. {_first_failure(client, name)}".rstrip())
    try:
        stack_id = (client.update_stack(**request) if status else client.create_stack(**request))["StackId"]
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return outputs(name)
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise OperatorError(f"Stack {name} could not be applied: {error}") from error
    reached = _settled(client, name, stack_id)
    if reached not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise OperatorError(
            f"Stack {name} could not be applied, and is in state {reached}. {_first_failure(client, stack_id)}".rstrip()
        )
    return outputs(name)


def delete(name: str) -> bool:
    """
    There is no such stack, and of what it made only what its template retains. Returns whether there was one.

    Raises:
        OperatorError: CloudFormation refuses, with the first reason it gave; or somebody else is at work on it.
        OutageError: it takes longer than half an hour.
    """
    client = boto3.client("cloudformation")
    status = _status(client, name)
    if status is None:
        return False
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise OperatorError(f"{way_out(name, status)}.")
    stack_id = client.describe_stacks(StackName=name)["Stacks"][0].get("StackId", name)
    try:
        client.delete_stack(StackName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise OperatorError(f"Stack {name} could not be deleted: {error}") from error
    reached = _settled(client, name, stack_id)
    if reached not in (None, "DELETE_COMPLETE"):
        raise OperatorError(
            f"Stack {name} could not be deleted, and is in state {reached}. {_first_failure(client, stack_id)}".rstrip()
        )
    return True


def way_out(name: str, status: str) -> str | None:
    """What to tell of a stack that cannot be changed in this state, or None if it can be."""
    if status in _WAYS_OUT:
        return f"Stack {name} is in state {status}: {_WAYS_OUT[status].format(name=name)}"
    if status.endswith("_IN_PROGRESS"):
        return f"Stack {name} is in state {status}: somebody is at work on it. Run this again when that is done"
    return None


def outputs(name: str) -> dict[str, str]:
    """
    What the stack gives out, by output name.

    Raises:
        OperatorError: there is no such stack.
    """
    client = boto3.client("cloudformation")
    if _status(client, name) is None:
        raise OperatorError(
            f"There is no stack {name} in {client.meta.region_name}: run provision first, or look at your region."
        )
    stack = client.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def exists(name: str) -> bool:
    """Whether there is such a stack, in whatever state."""
    return _status(boto3.client("cloudformation"), name) is not None


def resources(name: str) -> list[tuple[str, str]]:
    """What the stack holds, each thing's type and its name on AWS; nothing if there is no such stack."""
    if not exists(name):
        return []
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    return held(resource for page in pages for resource in page["StackResourceSummaries"])


def held(listed: Iterable[StackResourceSummaryTypeDef]) -> list[tuple[str, str]]:
    """
    Of what CloudFormation lists, what the stack holds.

    What it could not make is none of it: where the name was taken, that is somebody else's.
    """
    return [
        (resource["ResourceType"], resource.get("PhysicalResourceId", ""))
        for resource in listed
        if resource["ResourceStatus"] not in ("CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED")
    ]


def _status(client: CloudFormationClient, name: str) -> str | None:
    try:
        return client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _settled(client: CloudFormationClient, name: str, stack_id: str) -> str | None:
    """The state in which the stack comes to rest."""
    began = time.monotonic()
    pause_s = 0.2
    with progress.status(name) as tell:
        while (status := _status(client, stack_id)) and status.endswith("_IN_PROGRESS"):
            if time.monotonic() - began > _WAITS_S:
                raise OutageError(f"Stack {name} is {status} for half an hour: look at it in the console of AWS.")
            newest = client.describe_stack_events(StackName=stack_id)["StackEvents"][0]
            tell(f"{name}: {newest.get('LogicalResourceId')} {newest.get('ResourceStatus')}")
            time.sleep(pause_s)
            pause_s = min(_LOOKS_EVERY_S, pause_s * 1.5)
    return status


def _first_failure(client: CloudFormationClient, name: str) -> str:
    """What went wrong first in the newest operation that somebody began, if CloudFormation says so."""
    failures: list[StackEventTypeDef] = []
    for event in _newest_events(client, name):
        status = event.get("ResourceStatus", "")
        if event.get("LogicalResourceId") != event["StackName"]:
            failures += [event] if status.endswith("_FAILED") else []
        elif status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS"):
            break
    if not failures:
        return ""
    first = failures[-1]
    return (
        f"What failed first: {first.get('LogicalResourceId')}, {first.get('ResourceStatusReason', 'no reason given')}"
    )


def _newest_events(client: CloudFormationClient, name: str) -> Iterator[StackEventTypeDef]:
    for page in client.get_paginator("describe_stack_events").paginate(StackName=name):
        yield from page["StackEvents"]
