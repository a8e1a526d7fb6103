"""Apply, read and delete CloudFormation stacks, also on the embedded AWS."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.exceptions import ClientError, WaiterError
from samtranslator.yaml_helper import yaml_parse

from ops.cli import progress
from ops.cli.errors import OperatorError, OutageError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackResourceSummaryTypeDef, StackTypeDef

_WaiterName = Literal["stack_create_complete", "stack_update_complete", "stack_delete_complete"]

#: The polling interval and the number of polls: half an hour in total.
_POLL_S, _POLLS = 2, 900

_NEVER_COMPLETE = (
    "it was never created completely. Fix the cause, delete the stack "
    "(aws cloudformation delete-stack --stack-name {name}), and run the command again"
)
_FIXES = {
    "CREATE_FAILED": _NEVER_COMPLETE,
    "ROLLBACK_COMPLETE": _NEVER_COMPLETE,
    "ROLLBACK_FAILED": _NEVER_COMPLETE,
    "REVIEW_IN_PROGRESS": _NEVER_COMPLETE,
    "DELETE_FAILED": (
        "its deletion failed. Fix the cause, and delete it again (aws cloudformation delete-stack --stack-name {name})"
    ),
    "UPDATE_FAILED": (
        "an update failed and was not rolled back. Roll it back "
        "(aws cloudformation rollback-stack --stack-name {name}), and run the command again"
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "an update and its rollback failed. Fix the cause, continue the rollback "
        "(aws cloudformation continue-update-rollback --stack-name {name}), and run the command again"
    ),
}


def apply(
    name: str, template: str, parameters: Mapping[str, str | None], *, stage: str, bucket: str | None = None
) -> dict[str, str]:
    """
    Create or update the stack from the template, and return its outputs. Do nothing if it is up to date.

    CloudFormation accepts templates of up to 51,200 bytes, or up to 1 MB from a bucket. With `bucket`, upload the
    template there first. A parameter that is None keeps its value. Resources are tagged with the application and the
    stage. A concurrent second call is refused. If a resource fails, the error names it.
    """
    client = boto3.client("cloudformation")
    request: Any = {
        "StackName": name,
        **(_upload(template, bucket) if bucket else {"TemplateBody": template}),
        "Parameters": [
            {"ParameterKey": key, **({"UsePreviousValue": True} if value is None else {"ParameterValue": value})}
            for key, value in parameters.items()
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        "Tags": [{"Key": "application", "Value": "counter"}, {"Key": "stage", "Value": stage}],
    }
    check_changeable(name)
    is_new = not exists(name)
    try:
        with _translate_refusal(name, "applied"):
            stack_id = (client.create_stack(**request) if is_new else client.update_stack(**request))["StackId"]
    except OperatorError as error:
        if "No updates are to be performed" in str(error):
            return outputs(name)
        raise
    _wait(client, "stack_create_complete" if is_new else "stack_update_complete", name, stack_id)
    return outputs(name)


def check_changeable(name: str) -> None:
    """Check that the stack can be created or updated now."""
    stack = _find(name)
    if stack and (problem := describe_stuck_state(name, stack["StackStatus"])):
        raise OperatorError(f"{problem}. {_first_failure(boto3.client('cloudformation'), name)}".rstrip())


def _upload(template: str, bucket: str) -> dict[str, str]:
    """Upload the template, and return the parameter that names its address."""
    client = boto3.client("s3")
    key = f"{hashlib.sha256(template.encode()).hexdigest()}.json"
    client.put_object(Bucket=bucket, Key=key, Body=template.encode())
    return {"TemplateURL": f"{client.meta.endpoint_url}/{bucket}/{key}"}


def delete(name: str) -> bool:
    """Delete the stack and the resources that its template does not retain. Return whether the stack existed."""
    client = boto3.client("cloudformation")
    if (stack := _find(name)) is None:
        return False
    status = stack["StackStatus"]
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise OperatorError(f"{describe_stuck_state(name, status)}.")
    with _translate_refusal(name, "deleted"):
        client.delete_stack(StackName=name)
    _wait(client, "stack_delete_complete", name, stack.get("StackId", name))
    return True


@contextlib.contextmanager
def _translate_refusal(name: str, operation: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise OperatorError(f"Stack {name} could not be {operation}: {error}") from error


def describe_stuck_state(name: str, status: str) -> str | None:
    """Describe a state in which the stack cannot be changed, and the fix. Return None if it can be changed."""
    if status in _FIXES:
        return f"Stack {name} is in state {status}: {_FIXES[status].format(name=name)}"
    if status.endswith("_IN_PROGRESS"):
        return f"Stack {name} is in state {status}: another operation is running. Run the command again afterwards"
    return None


def outputs(name: str) -> dict[str, str]:
    """Return the stack's outputs by name."""
    if not exists(name):
        region = boto3.client("cloudformation").meta.region_name
        raise OperatorError(f"No such stack: {name} in {region}. Run provision, or check the region.")
    return find_outputs(name)


def find_outputs(name: str) -> dict[str, str]:
    """Return the stack's outputs by name, or an empty dictionary if the stack does not exist."""
    stack = _find(name)
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])} if stack else {}


def retains(name: str, logical_id: str) -> bool:
    """Check whether the template that was last applied to the stack retains a resource when the stack is deleted."""
    body: Any = boto3.client("cloudformation").get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
    template = yaml_parse(body) if isinstance(body, str) else body  # boto3 parses JSON itself
    return str(template["Resources"][logical_id].get("DeletionPolicy", "")).startswith("Retain")


def find_output(key: str, value: str) -> str | None:
    """Return the name of the stack that has this output, or None."""
    pages = boto3.client("cloudformation").get_paginator("describe_stacks").paginate()
    stacks = (stack for page in pages for stack in page["Stacks"])
    return next(
        (
            stack["StackName"]
            for stack in stacks
            for output in stack.get("Outputs", [])
            if (output["OutputKey"], output["OutputValue"]) == (key, value)
        ),
        None,
    )


def exists(name: str) -> bool:
    """Check whether the stack exists, in any state."""
    return _find(name) is not None


def resources(name: str) -> list[tuple[str, str]]:
    """Return the type and the AWS name of each resource in the stack, or an empty list if there is no such stack."""
    if not exists(name):
        return []
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    return select_held(resource for page in pages for resource in page["StackResourceSummaries"])


def select_held(summaries: "Iterable[StackResourceSummaryTypeDef]") -> list[tuple[str, str]]:
    """
    Select the resources that belong to the stack.

    Exclude a resource that could not be created: if its name was taken, the existing resource belongs to another owner.
    """
    return [
        (resource["ResourceType"], resource.get("PhysicalResourceId", ""))
        for resource in summaries
        if resource["ResourceStatus"] not in ("CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED")
    ]


def _find(name: str) -> "StackTypeDef | None":
    try:
        return boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _wait(client: "CloudFormationClient", waiter: _WaiterName, name: str, stack_id: str) -> None:
    """Wait until the operation succeeds."""
    operation = "deleted" if waiter == "stack_delete_complete" else "applied"
    try:
        with progress.status(f"Waiting until stack {name} is {operation}"):
            client.get_waiter(waiter).wait(StackName=stack_id, WaiterConfig={"Delay": _POLL_S, "MaxAttempts": _POLLS})
    except WaiterError as error:
        status = client.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"]
        if status.endswith("_IN_PROGRESS"):
            raise OutageError(f"Stack {name} has been {status} for 30 minutes; check the AWS console.") from error
        failure = _first_failure(client, stack_id)
        raise OperatorError(
            f"Stack {name} could not be {operation}: its state is {status}. {failure}".rstrip()
        ) from error


def _first_failure(client: "CloudFormationClient", name: str) -> str:
    """Describe the first failed resource of the newest operation, or return "" if CloudFormation reports none."""
    failures: list[StackEventTypeDef] = []
    pages = client.get_paginator("describe_stack_events").paginate(StackName=name)
    for event in (event for page in pages for event in page["StackEvents"]):
        status = event.get("ResourceStatus", "")
        if event.get("LogicalResourceId") != event["StackName"]:
            failures += [event] if status.endswith("_FAILED") else []
        elif status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS"):
            break
    if not failures:
        return ""
    first = failures[-1]
    return f"First failure: {first.get('LogicalResourceId')}, {first.get('ResourceStatusReason', 'no reason given')}"
