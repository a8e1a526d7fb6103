"""
Work around gaps in the embedded AWS. A real account does not need them, and code that ships does not use them.

When the embedded AWS imports an API, it drops preflight and gateway responses. After a restart, it still has the
positions in its streams, but not the records of the streams.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib.settings import Settings
from ops.cli.errors import OperatorError

if TYPE_CHECKING:
    from mypy_boto3_apigateway import APIGatewayClient


def complete_api(api_id: str, stage: str, definition: dict[str, Any]) -> None:
    """Add the preflight and gateway responses from the API's definition. Safe to repeat."""
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


def reset_stream_positions(state: Path) -> None:
    """Reset the positions in streams, which are empty after a restart. Call this while the embedded AWS is down."""
    for file in sorted(state.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if file.name == "lambda.json":
                content["payload"]["dynamodb_stream_positions"]["data"] = {}
                file.write_text(json.dumps(content), encoding="utf-8")
        except (ValueError, LookupError, TypeError) as error:
            raise OperatorError(
                f"{file} is damaged ({error!r}): restore it, or delete {state} and lose all counters."
            ) from error


def replay_uncounted(settings: Settings) -> int:
    """
    Send the log to each projection whose number of counted events differs from the number in the log.

    Return the number of events sent to each of these projections, or 0. Purged events are not sent. The embedded AWS
    loses its streams when it stops. Events that are already counted are not counted again.
    """
    # These modules read the stage's settings once, on import.
    from chalicelib import codec, log_reader  # noqa: PLC0415
    from chalicelib.extras.verification import purges  # noqa: PLC0415
    from ops.maintenance import projections, replay  # noqa: PLC0415

    logged = sum(1 for _ in purges.skip_void(log_reader.scan()))
    lacking = [each for each in settings.projections if projections.count_events(each) != logged]
    for projection in lacking:
        messages = codec.encode_bodies(purges.skip_void(log_reader.scan()))
        replay.send(projection.queue(settings.stage), messages)
    return logged if lacking else 0


def _put_preflights(client: "APIGatewayClient", api_id: str, paths: dict[str, Any]) -> None:
    resources = client.get_resources(restApiId=api_id, limit=500)["items"]
    ids = {resource["path"]: resource["id"] for resource in resources}
    for path, operations in paths.items():
        integration = operations.get("options", {}).get("x-amazon-apigateway-integration", {})
        if integration.get("type") == "mock":
            response = integration["responses"]["default"]
            client.put_integration_response(
                restApiId=api_id,
                resourceId=ids[path],
                httpMethod="OPTIONS",
                statusCode=response["statusCode"],
                responseParameters=response["responseParameters"],
            )
