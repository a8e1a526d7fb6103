"""
What the embedded AWS leaves out of an imported API, put in by hand through API Gateway's own interface.

Its import keeps paths and integrations, and drops the answers to preflights and the gateway's own error documents. A
real account needs none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_apigateway import APIGatewayClient


def fill(api_id: str, stage: str, definition: dict[str, Any]) -> None:
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
