"""
What the embedded AWS lacks, made up for from outside, through AWS's own interfaces where they reach.

Its import of an API drops the answers to preflights and the gateway's own error documents. It keeps over a stop how far
a stream was read, but not the stream. A real account needs none of this, and nothing that ships knows of it.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import boto3

from ops.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_apigateway import APIGatewayClient

    from chalicelib.settings import Settings

_RECORDS_PER_DELIVERY = 1000


def fill_in_api(api_id: str, stage: str, definition: dict[str, Any]) -> None:
    """The API answers preflights, and errors in the gateway, as its definition says. Safe to repeat."""
    client = boto3.client("apigateway")
    _put_preflights(client, api_id, definition["DefinitionBody"]["paths"])
    for kind, response in definition["GatewayResponses"].items():
        status = {"statusCode": str(response["StatusCode"])} if "StatusCode" in response else {}
        client.put_gateway_response(
            restApiId=api_id,
            responseType=kind,
            responseParameters={
                f"gatewayresponse.header.{name}": value
                for name, value in response["ResponseParameters"]["Headers"].items()
            },
            responseTemplates=response["ResponseTemplates"],
            **status,
        )
    client.create_deployment(restApiId=api_id, stageName=stage)


def forget_stream_positions(state: Path) -> None:
    """
    A stream that starts empty is read from its start. To be called while the embedded AWS is down.

    Raises:
        OperatorError: a file of the state is damaged. Nothing was written, and the next stop overwrites nothing.
    """
    for file in sorted(state.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if file.name == "lambda.json":
                content["payload"]["dynamodb_stream_positions"]["data"] = {}
                file.write_text(json.dumps(content), encoding="utf-8")
        except (ValueError, LookupError, TypeError) as error:
            raise OperatorError(
                f"{file} is damaged ({error!r}): put it right, or begin anew by removing {state}, and all counters."
            ) from error


def deliver_again(settings: Settings, stack: str) -> int:
    """
    What was on the stream at the last stop, and uncounted, is delivered to `publish`. Returns how many were sent.

    All of the log is, if its length differs from the number of counted events: what is counted stays counted once.
    """
    database = boto3.client("dynamodb")
    counters = database.get_paginator("scan").paginate(TableName=settings.counters_table)
    counted = sum(int(item["version"]["N"]) for page in counters for item in page["Items"])
    log = database.get_paginator("scan").paginate(TableName=settings.event_log_table, ConsistentRead=True)
    events = [item for page in log for item in page["Items"]]
    if len(events) == counted:
        return 0
    function = boto3.client("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId="Publish")
    name = function["StackResourceDetail"]["PhysicalResourceId"]
    for batch in _batches(events):
        records = [{"eventName": "INSERT", "dynamodb": {"NewImage": image}} for image in batch]
        answer = boto3.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"Records": records}))
        if "FunctionError" in answer:
            raise OperatorError(f"publish failed: {answer['Payload'].read().decode()}")
    return len(events)


def _batches(events: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], ...]]:
    remaining = iter(events)
    while batch := tuple(itertools.islice(remaining, _RECORDS_PER_DELIVERY)):
        yield batch


def _put_preflights(client: APIGatewayClient, api_id: str, paths: dict[str, Any]) -> None:
    resources = client.get_resources(restApiId=api_id, limit=500)["items"]
    ids = {resource["path"]: resource["id"] for resource in resources}
    for path, operations in paths.items():
        if preflight := operations.get("options"):
            answer = preflight["x-amazon-apigateway-integration"]["responses"]["default"]
            client.put_integration_response(
                restApiId=api_id,
                resourceId=ids[path],
                httpMethod="OPTIONS",
                statusCode=answer["statusCode"],
                responseParameters=answer["responseParameters"],
            )
