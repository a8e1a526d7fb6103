"""
List, add and remove a stage's API keys.

Each key has a separate usage plan, which contains its limits and is attached to the stage's API. A key and its plan
have the same name, `counter-STAGE.NAME`. Only AWS stores keys and plans.
"""

import re
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib.settings import Settings
from ops import target
from ops.cli.errors import InputError, OperatorError
from ops.cli.result import Outcome, render_table

if TYPE_CHECKING:
    from mypy_boto3_apigateway.type_defs import ApiKeyTypeDef, UsagePlanTypeDef

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: The stage of the API, as .chalice/config.json names it.
_API_STAGE = "api"

_COLUMNS = ("name", "id", "rate", "burst", "quota", "period", "created")


def describe_limits(
    rate: int | None = None, burst: int | None = None, quota: int | None = None, period: str | None = None
) -> dict[str, Any]:
    """
    Return the limits of a key as API Gateway names them. Default: no limits other than the stage's.

    `rate` is in requests per second, and `burst` is the number of requests at once (default: the rate). `quota` is the
    number of requests per `period` (default: day).
    """
    throttle = {} if rate is None else {"throttle": {"rateLimit": rate, "burstLimit": burst or rate}}
    return throttle | ({} if quota is None else {"quota": {"limit": quota, "period": (period or "day").upper()}})


def list_keys(settings: Settings) -> Outcome:
    """List the stage's keys with their limits, without their secrets."""
    plans = {plan["name"]: plan for plan in _list_plans(settings)}
    keys = [_describe(settings, key, plans.get(key["name"])) for key in _list_keys(settings)]
    if not keys:
        return Outcome({"keys": []}, [f"Stage {settings.stage} has no API keys."])
    rows = [[_show(key[name]) for name in _COLUMNS] for key in keys]
    return Outcome({"keys": keys}, render_table(_COLUMNS, rows))


def add(settings: Settings, name: str, **limits: Any) -> Outcome:
    """
    Create a key with these limits (see `describe_limits`). Only the outcome of this call contains the key's secret.

    If the key already exists, refuse to add it. If a call is interrupted, the next call replaces the incomplete key.
    """
    if settings.front != ("rest",):
        raise OperatorError(f"FRONT must be rest for API keys, got {','.join(settings.front)}.")
    full_name, api_id, client = _full_name(settings, name), find_api(settings.stage), boto3.client("apigateway")
    plans = [plan["id"] for plan in _list_plans(settings) if plan["name"] == full_name]
    if any(client.get_usage_plan_keys(usagePlanId=plan)["items"] for plan in plans):
        raise OperatorError(
            f"Key {name} already exists. To change its secret or limits, remove it first: "
            f"python -m ops keys remove {name} --stage {settings.stage}."
        )
    remove_all(settings, full_name)
    stages: Any = [{"apiId": api_id, "stage": _API_STAGE}]
    plan = client.create_usage_plan(name=full_name, apiStages=stages, **describe_limits(**limits))
    key = client.create_api_key(name=full_name, enabled=True)
    client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    url = target.api_url(f"https://{api_id}.execute-api.{client.meta.region_name}.amazonaws.com/{_API_STAGE}")
    return Outcome(
        {"name": name, "id": key["id"], "key": key["value"]},
        [
            f"Key {name}: {key['value']}",
            "Store it now: no command shows it again. Clients send it in the header X-Api-Key:",
            f'  curl -X POST -H "X-Api-Key: {key["value"]}" {url}/counters/visits/increments',
        ],
    )


def remove(settings: Settings, name: str) -> Outcome:
    """Remove a key and its usage plan. API Gateway then refuses requests with the key. Safe to repeat."""
    removed = bool(remove_all(settings, _full_name(settings, name)))
    message = f"Key {name} removed." if removed else f"No such key: {name}. Nothing was removed."
    return Outcome({"name": name, "removed": removed}, [message])


def remove_all(settings: Settings, full_name: str | None = None) -> list[str]:
    """
    Remove the stage's keys and usage plans, or only those with this name. Return their names. Safe to repeat.

    A key is removed before its plan, so an interruption leaves no key without limits.
    """
    client, removed = boto3.client("apigateway"), []
    for key in _list_keys(settings):
        if full_name in (None, key["name"]):
            client.delete_api_key(apiKey=key["id"])
            removed.append(key["name"])
    for plan in _list_plans(settings):
        if full_name in (None, plan["name"]):
            # API Gateway refuses to delete a plan with stages, or a stage with plans.
            for stage in plan.get("apiStages", []):
                change: Any = {"op": "remove", "path": "/apiStages", "value": f"{stage['apiId']}:{stage['stage']}"}
                client.update_usage_plan(usagePlanId=plan["id"], patchOperations=[change])
            client.delete_usage_plan(usagePlanId=plan["id"])
            removed.append(plan["name"])
    return list(dict.fromkeys(removed))


def list_resources(settings: Settings) -> list[tuple[str, str]]:
    """List the types and names of the stage's keys and usage plans, which do not belong to a stack."""
    keys = [("AWS::ApiGateway::ApiKey", key["name"]) for key in _list_keys(settings)]
    return keys + [("AWS::ApiGateway::UsagePlan", plan["name"]) for plan in _list_plans(settings)]


def find_api(stage: str) -> str:
    """Return the id of the stage's API, as the policy of its function names it, regardless of how it was deployed."""
    client = boto3.client("lambda")
    try:
        policy = client.get_policy(FunctionName=f"counter-{stage}")["Policy"]
    except client.exceptions.ResourceNotFoundException:
        policy = ""
    match = re.search(r":execute-api:[^:]+:[0-9]+:([a-z0-9]+)/", policy)
    if match is None:
        raise OperatorError(
            f"The API of stage {stage} is not deployed: run `python -m ops deploy --stage {stage}` first."
        )
    return match[1]


def _prefix(settings: Settings) -> str:
    return f"counter-{settings.stage}."  # no stage's name has a dot


def _full_name(settings: Settings, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"NAME must be 1 to 64 characters of A-Z a-z 0-9 . _ -, got {name!r}.")
    return _prefix(settings) + name


def _list_keys(settings: Settings) -> "list[ApiKeyTypeDef]":
    pages = boto3.client("apigateway").get_paginator("get_api_keys").paginate(nameQuery=_prefix(settings))
    return sorted((key for page in pages for key in page["items"]), key=lambda key: key["name"])


def _list_plans(settings: Settings) -> "list[UsagePlanTypeDef]":
    pages = boto3.client("apigateway").get_paginator("get_usage_plans").paginate()
    return [plan for page in pages for plan in page["items"] if plan["name"].startswith(_prefix(settings))]


def _describe(settings: Settings, key: "ApiKeyTypeDef", plan: "UsagePlanTypeDef | None") -> dict[str, Any]:
    throttle, quota = (plan or {}).get("throttle", {}), (plan or {}).get("quota", {})
    return {
        "name": key["name"].removeprefix(_prefix(settings)),
        "id": key["id"],
        "rate": throttle.get("rateLimit"),
        "burst": throttle.get("burstLimit"),
        "quota": quota.get("limit"),
        "period": quota["period"].lower() if quota.get("period") else None,
        "created": key["createdDate"].isoformat(timespec="seconds"),
    }


def _show(value: float | str | None) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
