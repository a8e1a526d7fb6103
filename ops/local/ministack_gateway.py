"""Correct the embedded AWS's API gateway, in its process, so that it behaves like API Gateway."""

import functools
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator, sigv4

_ANY = "x-amazon-apigateway-any-method"

#: The period over which a web ACL counts requests, in seconds.
_WINDOW_S = 300


def correct(ministack: Any) -> None:
    """Correct the gateway of the module `ministack.app`. Call this once, before the embedded AWS serves requests."""
    _keep_encoding(ministack)
    _import_any_methods(ministack._get_module("apigateway_v1"))
    _check_every_signature(ministack)
    _render_denials(ministack, ministack._get_module("apigateway_v1"))
    _keep_ids(ministack._get_module("apigateway_v1"))
    _name_keys(ministack._get_module("apigateway_v1"))
    _pass_preflights_on(ministack._get_module("apigateway"))
    _enforce_web_acls(ministack._get_module("apigateway_v1"), ministack._get_module("waf"))


def extend(module: Any, name: str) -> Callable[[Callable[..., Any]], None]:
    """Replace a module's function with the decorated function, which gets the original as its first argument."""
    return lambda function: setattr(module, name, functools.partial(function, getattr(module, name)))


def _keep_encoding(ministack: Any) -> None:
    """Pass on request paths exactly as the client encoded them, for REST APIs and function URLs. AWS does the same."""
    parse = ministack._parse_execute_api_url
    received: ContextVar[str] = ContextVar("received")

    @extend(ministack, "_handle_execute_api_request")
    async def _(handle: Any, host: str, path: str, *request: Any, raw_path: str | None = None, **more: Any) -> Any:
        received.set(raw_path or path)
        if raw_path and parse(host, path) and parse(host, raw_path):
            path = raw_path
        return await handle(host, path, *request, raw_path=raw_path, **more)

    @extend(ministack, "_handle_lambda_url_request")
    async def _(handle: Any, host: str, path: str, *request: Any, **more: Any) -> Any:
        # The function above has just received the path, in the same task.
        return await handle(host, received.get(path), *request, **more)


def _import_any_methods(gateway: Any) -> None:
    """Import methods that serve all undeclared methods of a path. The embedded AWS would drop them."""
    gateway._OPENAPI_HTTP_METHODS.add(_ANY)

    @extend(gateway, "_import_operation")
    def _(import_operation: Any, api_id: str, resource_id: str, method: str, *operation: Any) -> None:
        import_operation(api_id, resource_id, "ANY" if method == _ANY.upper() else method, *operation)


def _keep_ids(gateway: Any) -> None:
    """Let CloudFormation update an API in place, as on AWS. The embedded AWS would create another API."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  (as late as `ministack.app`)

    handler = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]
    update = handler["update"]

    def update_in_place(api_id: str, old: dict[str, Any], new: dict[str, Any], *stack: Any, **more: Any) -> Any:
        body = new["Body"]
        if body != old["Body"]:
            resources = gateway._resources[api_id]
            for key, resource in list(resources.items()):
                if resource["path"] == "/":
                    resource["resourceMethods"] = {}
                else:
                    del resources[key]
            gateway._authorizers_v1[api_id] = {}
            schemes = gateway._import_security_schemes(api_id, body)
            for path, methods in body["paths"].items():
                gateway._import_path_item(api_id, path, methods, schemes, body.get("security"))
        return update(api_id, {**old, "Body": body}, new, *stack, **more)

    handler["update"] = update_in_place


def _name_keys(gateway: Any) -> None:
    """Pass the API key of a request on to the function, as API Gateway does for methods that require keys."""

    @extend(gateway, "_invoke_lambda_proxy_v1")
    async def _(invoke: Any, *request: Any, caller_identity: dict[str, Any] | None = None, **more: Any) -> Any:
        _integration, _api_id, _stage_name, _stage, resource, _path, method, headers, *_ = request
        methods = resource["resourceMethods"]
        if (methods.get(method) or methods["ANY"]).get("apiKeyRequired"):
            key = gateway._resolve_api_key(gateway._api_key_from_request(headers))
            caller_identity = {**(caller_identity or {}), "apiKey": key["value"], "apiKeyId": key["id"]}
        return await invoke(*request, caller_identity=caller_identity, **more)


def _pass_preflights_on(gateway: Any) -> None:
    """Route preflight requests to an HTTP API without CORS like other requests. The embedded AWS would refuse them."""

    @extend(gateway, "_handle_execute_in_scope")
    async def _(handle: Any, api_id: str, stage: str, path: str, method: str, *request: Any, **more: Any) -> Any:
        is_passed = method == "OPTIONS" and not gateway._apis[api_id].get("corsConfiguration")
        return await handle(api_id, stage, path, method.lower() if is_passed else method, *request, **more)

    @extend(gateway, "_invoke_lambda_proxy")
    async def _(invoke: Any, *request: Any, **more: Any) -> Any:
        integration, api_id, stage, path, method, *others = request
        return await invoke(integration, api_id, stage, path, method.upper(), *others, **more)


def _check_every_signature(ministack: Any) -> None:
    """Check the signatures of requests to APIs even if root signs them. The embedded AWS would accept any signature."""

    @extend(ministack, "pin_signed_request")
    def _(pin: Any, method: str, raw_path: str, *request: Any) -> None:
        is_root_key = iam_evaluator._is_root_key
        if ministack._parse_execute_api_url("", raw_path):
            iam_evaluator._is_root_key = lambda _key: False
        try:
            pin(method, raw_path, *request)
        finally:
            iam_evaluator._is_root_key = is_root_key


def _render_denials(ministack: Any, gateway: Any) -> None:
    """
    Refuse a signature for another service, and render denials by policies as the API's gateway responses.

    The embedded AWS would accept any service, and render a denial as a different error.
    """
    gateway._AUTHENTICATION_GATEWAY_ERRORS["AccessDeniedException"] = ("ACCESS_DENIED", "AccessDeniedException")

    @extend(ministack, "_enforce_execute_api")
    def _(enforce: Any, *request: Any, **action: str) -> Any:
        api_id, stage, method, path, headers, query = request
        is_checked = ministack._execute_api_authorization_type(api_id, stage, method, path) == "AWS_IAM"
        if is_checked and _is_for_another_service():
            error = iam_evaluator.AuthError("SignatureDoesNotMatch", "Credential should be scoped to execute-api.")
        else:
            denied = enforce(*request, **action)
            if not denied or b"AccessDeniedException" not in denied[2]:
                return denied
            error = iam_evaluator.AuthError("AccessDeniedException", "User is not authorized.")
        return gateway.authentication_error_response(api_id, stage, error, headers, query)


def _is_for_another_service() -> bool:
    request = iam_evaluator._signed_request.get()
    if request is None:
        return False
    signature: Any = (
        sigv4.parse_query_signature(request.query_params)
        if request.presigned
        else sigv4.parse_header_signature(request.headers)
    )
    return not isinstance(signature, tuple) and signature.service != "execute-api"


def _enforce_web_acls(gateway: Any, waf: Any) -> None:
    """
    Let CloudFormation associate web ACLs with APIs, and block requests above the rates of these ACLs.

    All clients have the address 127.0.0.1, and so share one limit.
    """
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  (as late as `ministack.app`)

    def associate(_id: str, properties: dict[str, Any], _stack: Any) -> tuple[str, dict[str, Any]]:
        check_response(waf._associate_web_acl(properties))
        return f"{properties['WebACLArn']}|{properties['ResourceArn']}", {}

    provisioners._RESOURCE_HANDLERS["AWS::WAFv2::WebACLAssociation"] = {
        "create": associate,
        "delete": lambda _id, properties: waf._disassociate_web_acl(properties),
    }
    received: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    @extend(gateway, "_execute_in_scope")
    async def _(execute: Any, request: Any, api_id: str, stage: str, *more: Any) -> Any:
        if limits := _list_limits(waf, api_id, stage):
            latest, now = received[api_id, stage], time.monotonic()
            latest.append(now)
            while latest[0] < now - _WINDOW_S:
                latest.popleft()
            if len(latest) > min(limits):
                request["stage"] = gateway._stages_v1[api_id][stage]
                return gateway._gw_error("WAF_FILTERED", "Forbidden")
        return await execute(request, api_id, stage, *more)


def _list_limits(waf: Any, api_id: str, stage: str) -> list[int]:
    """Return the limits of the rate-based rules of the stage's web ACL, if it has one."""
    resource = f"::/restapis/{api_id}/stages/{stage}"
    acls = {arn for associated, arn in waf._associations.items() if associated.endswith(resource)}
    rules = (rule for arn in acls for rule in waf._resolve_local_web_acl(arn)[0]["Rules"])
    return [int(rule["Statement"]["RateBasedStatement"]["Limit"]) for rule in rules]


def check_response(response: tuple[Any, ...]) -> None:
    """Raise an error, which CloudFormation reports, if a service refused a request."""
    status, _, body = response
    if status >= 400:
        raise ValueError(body)
