"""
A proxy in front of the embedded AWS that adds the operations that Chalice's command line needs.

The embedded AWS cannot import an API: `ImportRestApi` creates an empty one and `PutRestApi` is missing. This proxy
creates the API piece by piece instead, and passes on all other requests. It delays the response for a new or changed
function until the function is ready, because Chalice polls only every five seconds.
"""

import contextlib
import http.client
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


@contextlib.contextmanager
def serve(aws_port: int) -> Iterator[str]:
    """Run the proxy until the block ends, and yield its URL, for HTTP_PROXY."""
    handler = type("Handler", (_Handler,), {"aws_port": aws_port})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    aws_port: int
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)  # the request line to a proxy contains the whole URL
        path = address._replace(scheme="", netloc="").geturl()
        if self.command == "POST" and address.path == "/restapis" and "mode=import" in address.query:
            self._send(201, *self._look_up("apigateway", f"/restapis/{_imported(json.loads(body))}"))
        elif self.command == "PUT" and (api := re.fullmatch(r"/restapis/(\w+)", address.path)):
            _overwrite(api[1], json.loads(body))
            self._send(200, *self._look_up("apigateway", address.path))
        else:
            headers = {name: value for name, value in self.headers.items() if name != "Content-Length"}
            answer = self._pass_on(self.command, path, headers, body)
            if answer[0] < 300 and self.command in ("POST", "PUT") and _FUNCTION.fullmatch(address.path):
                answer = (answer[0], *self._ready(json.loads(answer[2])["FunctionName"]))
            self._send(*answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815  (the server's names)

    def _pass_on(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.aws_port)) as aws:
            aws.request(method, path, body, {**headers, "Content-Length": str(len(body))})
            answer = aws.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _look_up(self, service: str, path: str) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and body of the response to a GET that is signed with this process's credentials."""
        request = AWSRequest("GET", f"http://127.0.0.1:{self.aws_port}{path}")
        session = boto3.Session()
        credentials = session.get_credentials()
        assert credentials is not None
        SigV4Auth(credentials, service, session.region_name).add_auth(request)
        return self._pass_on("GET", path, dict(request.headers.items()))[1:]

    def _ready(self, name: str) -> tuple[list[tuple[str, str]], bytes]:
        waiter = boto3.client("lambda").get_waiter("function_updated")
        waiter.wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return self._look_up("lambda", f"/2015-03-31/functions/{name}/configuration")

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


_FUNCTION = re.compile(r"/2015-03-31/functions(/[^/]+/(code|configuration))?")


def _imported(definition: dict[str, Any]) -> str:
    made = boto3.client("apigateway").create_rest_api(
        name=definition["info"]["title"],
        version=definition["info"]["version"],
        binaryMediaTypes=definition.get("x-amazon-apigateway-binary-media-types", []),
    )
    _overwrite(made["id"], definition)
    return made["id"]


def _overwrite(api_id: str, definition: dict[str, Any]) -> None:
    """Replace the API's paths and methods with those of the definition."""
    client = boto3.client("apigateway")
    resources = client.get_resources(restApiId=api_id, limit=500)["items"]
    *below, root = sorted(resources, key=lambda resource: len(resource["path"]), reverse=True)
    for resource in below:
        client.delete_resource(restApiId=api_id, resourceId=resource["id"])
    for method in root.get("resourceMethods", {}):
        client.delete_method(restApiId=api_id, resourceId=root["id"], httpMethod=method)
    ids = {"": root["id"]}
    for path, methods in sorted(definition["paths"].items()):
        for method, operation in methods.items():
            _put_method(api_id, _resource(api_id, path.rstrip("/"), ids), method.upper(), operation)


def _resource(api_id: str, path: str, ids: dict[str, str]) -> str:
    if path not in ids:
        above, _, part = path.rpartition("/")
        made = boto3.client("apigateway").create_resource(
            restApiId=api_id, parentId=_resource(api_id, above, ids), pathPart=unquote(part)
        )
        ids[path] = made["id"]
    return ids[path]


def _put_method(api_id: str, resource_id: str, method: str, operation: dict[str, Any]) -> None:
    client = boto3.client("apigateway")
    place: dict[str, Any] = {"restApiId": api_id, "resourceId": resource_id, "httpMethod": method}
    integration = operation["x-amazon-apigateway-integration"]
    client.put_method(**place, authorizationType="NONE")
    client.put_integration(
        **place,
        type=integration["type"].upper(),
        integrationHttpMethod=integration.get("httpMethod", method),
        uri=integration.get("uri", ""),
        requestTemplates=integration.get("requestTemplates", {}),
        passthroughBehavior=integration["passthroughBehavior"].upper(),
    )
    if integration["type"] == "mock":
        answer = integration["responses"]["default"]
        shown = dict.fromkeys(answer["responseParameters"], False)
        client.put_method_response(**place, statusCode=answer["statusCode"], responseParameters=shown)
        client.put_integration_response(
            **place, statusCode=answer["statusCode"], responseParameters=answer["responseParameters"]
        )
