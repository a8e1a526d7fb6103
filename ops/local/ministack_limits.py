"""Let the embedded AWS, in its process, create and enforce what limits cost: web ACLs of APIs, and budgets."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import Any

_WINDOW_S = 300


def correct(ministack: Any) -> None:
    """Correct the module `ministack.app`. Call this once, before the embedded AWS serves requests."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  (as late as `ministack.app`)

    waf, budgets = ministack._get_module("waf"), ministack._get_module("budgets")
    provisioners._RESOURCE_HANDLERS["AWS::WAFv2::WebACLAssociation"] = {
        "create": lambda _id, properties, _stack: _associate(waf, properties),
        "delete": lambda _id, properties: waf._disassociate_web_acl(properties),
    }
    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {
        "create": lambda _id, properties, _stack: _create_budget(budgets, properties),
        "delete": lambda name, _properties: budgets._delete_budget({"BudgetName": name}),
    }
    _enforce_rates(ministack._get_module("apigateway_v1"), waf)


def _associate(waf: Any, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _check(waf._associate_web_acl(properties))
    return f"{properties['WebACLArn']}|{properties['ResourceArn']}", {}


def _create_budget(budgets: Any, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _check(budgets._create_budget(properties))
    return properties["Budget"]["BudgetName"], {}


def _check(response: tuple[Any, ...]) -> None:
    status, _, body = response
    if status >= 400:
        raise ValueError(body)


def _enforce_rates(gateway: Any, waf: Any) -> None:
    """Block requests above the rates of the stage's web ACL. All clients have the address 127.0.0.1."""
    execute = gateway._execute_in_scope
    received: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    async def execute_within_rates(request: Any, api_id: str, stage: str, *more: Any) -> Any:
        if limits := _list_limits(waf, api_id, stage):
            latest, now = received[api_id, stage], time.monotonic()
            latest.append(now)
            while latest[0] < now - _WINDOW_S:
                latest.popleft()
            if len(latest) > min(limits):
                request["stage"] = gateway._stages_v1[api_id][stage]
                return gateway._gw_error("WAF_FILTERED", "Forbidden")
        return await execute(request, api_id, stage, *more)

    gateway._execute_in_scope = execute_within_rates


def _list_limits(waf: Any, api_id: str, stage: str) -> list[int]:
    """Return the limits of the rate-based rules of the stage's web ACL, if it has one."""
    resource = f"::/restapis/{api_id}/stages/{stage}"
    acls = {arn for associated, arn in waf._associations.items() if associated.endswith(resource)}
    rules = (rule for arn in acls for rule in waf._resolve_local_web_acl(arn)[0]["Rules"])
    return [int(rule["Statement"]["RateBasedStatement"]["Limit"]) for rule in rules]
