"""
An AWS in this process: the embedded AWS's DynamoDB, streams and SQS, called directly, without a network.

Only one request runs at a time, and the `gate` decides which is next, so that all interleavings can be tested.
Thousands of runs take seconds.

A read that is not strongly consistent, except a scan, gets the stalest response that DynamoDB permits.
"""

import asyncio
import base64
import contextlib
import functools
import json
import logging
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore import UNSIGNED, parsers
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from ministack.services import dynamodb, dynamodb_streams, sqs

from chalicelib import settings
from chalicelib.projections import READ_MODEL, SQL
from ops.local import ministack_speed
from testkit import aws_requests
from testkit.faults import Attempt, no_fault, response

_TEMPLATE = Path(__file__).parent.parent / "infrastructure" / "template.yaml"
_SERVICES: Any = {"DynamoDB": dynamodb, "DynamoDBStreams": dynamodb_streams, "AmazonSQS": sqs}

ministack_speed.cache_checks()


class Engine:
    """The tables and queues of the current stage, and a gate through which the application's requests pass."""

    def __init__(self) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # importing the services sets it lower
        self.gate: Callable[[Attempt], AWSResponse] = no_fault
        self._one_at_a_time = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self._session = boto3.Session()
        self._session.events.register("before-call.*.*", self._serve_quickly)
        self._make_tables_and_queues()

    @functools.cache  # noqa: B019  (an engine lives as long as the process)
    def client(self, service: str) -> Any:
        """Return a client for the tests. Its requests do not pass the gate, and are neither checked nor signed."""
        config = Config(signature_version=UNSIGNED, parameter_validation=False)
        return self._session.client(service, config=config)  # type: ignore[call-overload]

    @contextlib.contextmanager
    def serve_clients(self, *others: BaseClient) -> Iterator[None]:
        """Serve the application's clients, and the `others`, from the engine."""
        served = [*aws_requests.clients(), *others]
        for client in served:
            client.meta.events.register("before-send.*.*", self._pass_gate)
            client.meta.events.register("choose-signer.*.*", _sign_nothing)
            # The SDK retries without a wait: waiting changes nothing here.
            client.meta.events.register_first("needs-retry.*.*", _skip_wait)
        try:
            yield
        finally:
            for client in served:
                client.meta.events.unregister("before-send.*.*", self._pass_gate)
                client.meta.events.unregister("choose-signer.*.*", _sign_nothing)
                client.meta.events.unregister("needs-retry.*.*", _skip_wait)

    def remove_tables_and_queues(self) -> None:
        """Remove all tables and queues, for the next engine."""
        for name in self.client("dynamodb").list_tables()["TableNames"]:
            self.client("dynamodb").delete_table(TableName=name)
        for url in self.client("sqs").list_queues().get("QueueUrls", []):
            self.client("sqs").delete_queue(QueueUrl=url)

    def _pass_gate(self, request: Any, event_name: str, **_: Any) -> Any:
        operation = event_name.rpartition(".")[2]
        return self.gate(
            Attempt(operation, request, lambda: _make_stale_response(operation, request) or self._serve(request))
        )

    def _serve(self, request: Any, **_: Any) -> Any:
        return response(request, *self._handle(request.method, request.url, request.headers, request.body))

    def _serve_quickly(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        """
        Serve a request without the SDK's endpoint, and parse the response without the SDK's model of the service.

        Tests read thousands of items, and parsing them as the SDK does takes longer than everything else.
        """
        status, headers, body = self._handle(params["method"], params["url"], params["headers"], params["body"])
        if status >= 300:
            parser = parsers.create_parser(model.service_model.resolved_protocol)
            served = {"status_code": status, "headers": headers, "body": body}
            return _Served(status), parser.parse(served, model.output_shape)
        return _Served(status), json.loads(body or b"{}", object_hook=_decode_binary)

    def _handle(self, method: str, url: str, headers: Any, body: Any) -> tuple[int, dict[str, str], bytes]:
        """Let the embedded AWS handle a request. Return status, headers and body."""
        lower = {name.lower(): _text(value) for name, value in headers.items()}
        service = _SERVICES[lower["x-amz-target"].partition(".")[0].partition("_")[0]]
        parts = urllib.parse.urlsplit(url)
        lower.setdefault("host", parts.netloc)
        with self._one_at_a_time:
            status, answered, content = self._loop.run_until_complete(
                service.handle_request(method, parts.path, lower, _text(body).encode(), {})
            )
        return status, answered, content if isinstance(content, bytes) else content.encode()

    def _make_tables_and_queues(self) -> None:
        names = settings.current()
        for definition in table_definitions(names.stage):
            self.client("dynamodb").create_table(**definition)
        stream = self.client("dynamodb").describe_table(TableName=names.event_log_table)["Table"]["LatestStreamArn"]
        self.outputs = {
            "EventLogStreamArn": stream,
            "ProjectionQueueUrl": self.client("sqs").create_queue(QueueName=READ_MODEL.queue(names.stage))["QueueUrl"],
            "DeadLetterQueueUrl": self.client("sqs").create_queue(QueueName=READ_MODEL.dead_letter_queue(names.stage))[
                "QueueUrl"
            ],
            "SqlProjectionQueueUrl": self.client("sqs").create_queue(QueueName=SQL.queue(names.stage))["QueueUrl"],
            "SqlDeadLetterQueueUrl": self.client("sqs").create_queue(QueueName=SQL.dead_letter_queue(names.stage))[
                "QueueUrl"
            ],
        }


@dataclass(frozen=True)
class _Served:
    """The attributes of a parsed response that the SDK reads."""

    status_code: int


def _decode_binary(value: dict[str, Any]) -> dict[str, Any]:
    """Decode a binary attribute of an item. Return any other object as it is."""
    match value:
        case {"B": str(text)}:
            return {"B": base64.b64decode(text)}
        case {"BS": list(texts)}:
            return {"BS": [base64.b64decode(text) for text in texts]}
    return value


def _make_stale_response(operation: str, request: Any) -> AWSResponse | None:
    """
    Return DynamoDB's stalest response to a read of items that is not strongly consistent: no items.

    DynamoDB promises only that such a read "might not reflect the results of a recently completed write" (developer
    guide, "Read consistency"). Every write of a test is recent. Return None for all other requests, including scans.
    Of the scans, only the list of counters is eventually consistent, and its documentation says so.
    """
    parameters = json.loads(request.body) if operation in ("GetItem", "BatchGetItem", "Query") else {}
    if operation == "GetItem" and not parameters.get("ConsistentRead"):
        return response(request, 200, {}, b"{}")
    if operation == "Query" and not parameters.get("ConsistentRead"):
        return response(request, 200, {}, b'{"Items": [], "Count": 0, "ScannedCount": 0}')
    tables = parameters.get("RequestItems", {})
    if not all(table.get("ConsistentRead") for table in tables.values()):
        nothing: dict[str, Any] = {"Responses": {name: [] for name in tables}, "UnprocessedKeys": {}}
        return response(request, 200, {}, json.dumps(nothing).encode())
    return None


def table_definitions(stage: str) -> list[dict[str, Any]]:
    """Return the tables of the infrastructure template as arguments of CreateTable."""
    resources = yaml.load(_TEMPLATE.read_text(encoding="utf-8"), _Loader)["Resources"]
    wanted = ("TableName", "BillingMode", "AttributeDefinitions", "KeySchema")
    found = []
    for resource in resources.values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            properties = resource["Properties"]
            definition = {name: properties[name] for name in wanted}
            definition["TableName"] = definition["TableName"].replace("${Stage}", stage)
            if stream := properties.get("StreamSpecification"):
                definition["StreamSpecification"] = {"StreamEnabled": True, **stream}
            found.append(definition)
    return found


class _Loader(yaml.CSafeLoader):
    """Load a template, and replace its intrinsic functions with their arguments."""


def _construct_plain(loader: Any, _suffix: str, node: Any) -> Any:
    return node.value if isinstance(node, yaml.ScalarNode) else loader.construct_sequence(node)


_Loader.add_multi_constructor("!", _construct_plain)


def _sign_nothing(**_: Any) -> Any:
    """Send requests unsigned. The engine does not check signatures, and signing takes a fifth of a request's time."""
    return UNSIGNED


def _skip_wait(attempts: int, response: Any, caught_exception: Any, **_: Any) -> Any:
    """Remove the SDK's wait before a retry. The SDK still decides whether to retry."""
    transient = caught_exception is not None or (
        response is not None and re.search("Throttl|ThroughputExceeded", response[1].get("Error", {}).get("Code", ""))
    )
    return 0 if transient and attempts < 4 else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
