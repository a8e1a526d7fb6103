"""Test what `deploy` adds to Chalice's template: all methods, limits, reserved concurrency and the access log."""

import json
import re

import pytest

import app
from benchmarks.models import abuse, deployed
from chalicelib import settings
from chalicelib.errors import SettingsError
from ops import stages
from ops.deployment import overlay
from ops.stages import PROJECT

#: The paths that need more than a few reads, or return more than a few KB.
EXPENSIVE = {
    "/counters",
    "/counters/{counter_id}/events",
    "/counters/{counter_id}/history",
    "/openapi.json",
    "/reports/{name}",
}


def resources(**variables):
    return overlay.render(settings.read({"STAGE": "dev", **variables}))["Resources"]


def limits(**variables):
    """Return the rates of the API's methods, by path and method. API Gateway writes / in a path as ~1."""
    found = {}
    for each in resources(**variables)["RestAPI"]["Properties"]["MethodSettings"]:
        assert each["ThrottlingBurstLimit"] == each["ThrottlingRateLimit"]
        path = each["ResourcePath"]
        found[path[1:].replace("~1", "/") if "~1" in path else path, each["HttpMethod"]] = each["ThrottlingRateLimit"]
    return found


def test_expensive_reads_have_a_lower_limit_than_other_requests():
    rates = limits(REQUESTS_PER_S="500", EXPENSIVE_READS_PER_S="7")

    assert rates.pop(("/*", "*")) == 500
    assert {path for path, _ in rates} == EXPENSIVE
    assert set(rates.values()) == {7}
    for path, methods in app.app.routes.items():
        if path in EXPENSIVE:
            assert {(path, method) for method in methods} <= rates.keys()
    assert app.app.routes.keys() >= EXPENSIVE


def test_every_path_passes_undeclared_methods_to_the_application():
    """The application answers 405. The gateway would answer that the path is unknown."""
    paths = resources()["RestAPI"]["Properties"]["DefinitionBody"]["paths"]

    assert paths.keys() == app.app.routes.keys()
    assert {name for methods in paths.values() for name in methods} == {"x-amazon-apigateway-any-method"}


def test_limit_of_expensive_reads_never_exceeds_the_limit_of_all_requests():
    assert set(limits(REQUESTS_PER_S="5").values()) == {5}


def test_path_with_a_limit_is_encoded_as_api_gateway_requires():
    (path,) = (
        each["ResourcePath"]
        for each in resources()["RestAPI"]["Properties"]["MethodSettings"]
        if "history" in each["ResourcePath"] and each["HttpMethod"] == "GET"
    )

    assert path == "/~1counters~1{counter_id}~1history"


def test_concurrency_is_reserved_for_counting_only_if_it_is_set():
    functions = ("Publish", "Project", "ProjectSql", "APIHandler")
    sql_url = "postgresql+psycopg://counter@host/counter"
    reserved = resources(SQL_URL=sql_url, PROJECTORS="5", RESERVED_PUBLISH="8", RESERVED_PROJECT="10")
    unreserved = resources(SQL_URL=sql_url)

    def read(found):
        return [found[name]["Properties"].get("ReservedConcurrentExecutions") for name in functions]

    assert read(reserved) == [8, 10, 10, None]
    assert read(unreserved) == [None] * 4


def test_access_log_is_written_to_the_log_group_of_the_template():
    template = (PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")
    (group,) = re.findall(r"LogGroupName: !Sub (/aws/apigateway/\S+)", template)

    log = resources(ACCESS_LOG="1")["RestAPI"]["Properties"]["AccessLogSetting"]

    assert log["DestinationArn"]["Fn::Sub"].endswith(f":log-group:{group.replace('${Stage}', 'dev')}")
    assert {"ip", "status", "path", "httpMethod", "responseLatency"} <= json.loads(log["Format"]).keys()
    assert "AccessLogSetting" not in resources()["RestAPI"]["Properties"]


def gateway_responses(**variables):
    """Return the status, headers and problem document of API Gateway's own responses, by type."""
    found = resources(**variables)["RestAPI"]["Properties"]["GatewayResponses"]
    return {
        kind: (
            each.get("StatusCode"),
            each["ResponseParameters"]["Headers"],
            json.loads(each["ResponseTemplates"]["application/json"]),
        )
        for kind, each in found.items()
    }


@pytest.mark.parametrize("origins", ["*", "https://a.example", "https://a.example,https://b.example"])
def test_refusals_of_the_gateway_are_problem_documents_for_pages(origins):
    for kind, (status, headers, problem) in gateway_responses(ALLOWED_ORIGIN=origins).items():
        assert headers["Content-Type"] == "'application/problem+json'", kind
        assert {"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} <= headers.keys(), kind
        assert problem.get("status") == status, kind
        assert ("Retry-After" in headers) == (status in (429, 503)), kind
        assert ("WWW-Authenticate" in headers) == (status == 401), kind
        sent = {"Authorization", "X-Api-Key", "X-Amz-Date", "X-Amz-Security-Token"}
        assert sent <= {*headers["Access-Control-Allow-Headers"].strip("'").split(",")}, kind


def test_refusals_of_callers_have_the_statuses_of_the_contract():
    statuses = {kind: status for kind, (status, _, _) in gateway_responses().items()}

    assert {kind: statuses[kind] for kind in ("UNAUTHORIZED", "ACCESS_DENIED", "INVALID_API_KEY")} == {
        "UNAUTHORIZED": 401,
        "ACCESS_DENIED": 403,
        "INVALID_API_KEY": 403,
    }
    assert {statuses[kind] for kind in ("EXPIRED_TOKEN", "INVALID_SIGNATURE")} == {403}
    assert {statuses[kind] for kind in ("THROTTLED", "QUOTA_EXCEEDED", "WAF_FILTERED")} == {429}
    assert {statuses[kind] for kind in ("AUTHORIZER_FAILURE", "AUTHORIZER_CONFIGURATION_ERROR")} == {503}


@pytest.mark.parametrize("name", ["WRITERS", "READERS"])
def test_unknown_path_is_403_only_where_requests_are_signed(name):
    """API Gateway has one response type for an unknown path and for a missing signature."""
    statuses = {
        callers: gateway_responses(**{name: callers})["MISSING_AUTHENTICATION_TOKEN"][0]
        for callers in ("anyone", "api-key", "iam")
    }

    assert statuses == {"anyone": 404, "api-key": 404, "iam": 403}


def test_cost_of_abuse_follows_from_the_limits_that_are_deployed():
    """The table's rates are those of the overlay, and its total is the sum of its rows."""
    rates = limits()
    abuses = abuse.price_kinds(deployed.read_costs())
    page = (PROJECT / "docs" / "cost.md").read_text(encoding="utf-8").partition("## Abuse")[2].partition("### ")[0]

    stated = re.findall(r"^\| [^|]+ \| ([\d.]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert stated == [f"{usd:.2f}" for usd in abuses.values()]
    assert f"**{sum(abuses.values()):.2f}**" in page
    assert f"| increments | {abuses['increments']:.2f} | `REQUESTS_PER_S` = {rates['/*', '*']:,} |" in page
    history_rate = rates["/counters/{counter_id}/history", "GET"]
    assert f"| histories | {abuses['histories']:.2f} | `EXPENSIVE_READS_PER_S` = {history_rate:,}, " in page


def test_cost_of_requests_by_strangers_follows_from_limits_and_prices():
    """The page has the rows. A refusal costs less than an increment. The firewall's inspection is included."""
    costs = deployed.read_costs()
    usd = abuse.price_increments_of_strangers(costs)
    page = (PROJECT / "docs" / "cost.md").read_text(encoding="utf-8").partition("### Strangers")[2]

    stated = re.findall(r"^\| [^|]*\| [^|]+ \| ([\d.]+) \| [^|]+ \|$", page, re.MULTILINE)
    by_row = (usd["counted"], usd["counted"], usd["refused"], 0, usd["authorizer"], usd["waf"])
    requests = limits()["/*", "*"] * 3600
    assert stated == [f"{amount:.2f}" for amount in by_row]
    assert page.count(f"| {requests:,} counted, ") == 2
    assert usd["counted"] == abuse.price_kinds(costs)["increments"]
    assert 0 < usd["authorizer"] < usd["refused"] < usd["counted"]
    assert usd["waf"] == pytest.approx(requests * 0.60e-6 + usd["counted"] * 2000 * 12 / requests)


def test_firewall_limits_each_address_and_protects_the_stage():
    found = resources(WAF="2000")
    acl, association = found["Firewall"]["Properties"], found["FirewallAssociation"]["Properties"]
    (rule,) = acl["Rules"]

    assert rule["Statement"] == {
        "RateBasedStatement": {"AggregateKeyType": "IP", "EvaluationWindowSec": 300, "Limit": 2000}
    }
    assert (rule["Action"], acl["DefaultAction"], acl["Scope"]) == ({"Block": {}}, {"Allow": {}}, "REGIONAL")
    assert association["ResourceArn"]["Fn::Sub"].endswith(
        ":${AWS::Region}::/restapis/${RestAPI}/stages/${RestAPI.Stage}"
    )
    assert association["WebACLArn"] == {"Fn::GetAtt": ["Firewall", "Arn"]}
    assert not any("Firewall" in name for name in resources())


@pytest.mark.parametrize(
    ("projectors", "reserved"),
    [(None, "10"), ("11", "10"), ("5", "1")],
)
def test_reserved_concurrency_below_projectors_is_refused(projectors, reserved):
    """Lambda would throttle the queue's pollers, and messages would reach their maximum number of deliveries."""
    variables = {"STAGE": "dev", "RESERVED_PROJECT": reserved, **({"PROJECTORS": projectors} if projectors else {})}

    with pytest.raises(SettingsError, match="RESERVED_PROJECT"):
        settings.read(variables)


@pytest.mark.parametrize(
    ("front", "outputs", "alarms"),
    [
        ("rest", set(), set()),
        ("url", {"FunctionUrl"}, {"counter-dev-url-5xx"}),
        ("http,rest", {"HttpAPIUrl"}, {"counter-dev-http-5xx"}),
        ("rest,url,http", {"FunctionUrl", "HttpAPIUrl"}, {"counter-dev-url-5xx", "counter-dev-http-5xx"}),
    ],
)
def test_each_front_has_an_address_and_an_alarm(front, outputs, alarms):
    rendered = overlay.render(settings.read({"STAGE": "dev", "FRONT": front}))

    found = rendered["Resources"]
    function = found["APIHandler"]["Properties"]
    assert rendered["Outputs"].keys() == outputs
    assert {each["Properties"].get("AlarmName") for each in found.values() if "Type" in each} >= alarms
    assert ("FunctionUrlConfig" in function, "HttpAPI" in found) == ("url" in front, "http" in front)
    assert function.get("Handler", "app.app") == ("app.app" if front == "rest" else "app.serve")


def test_http_api_has_one_limit_and_passes_all_requests_on():
    found = resources(FRONT="http", REQUESTS_PER_S="7")

    assert found["HttpAPIStage"]["Properties"]["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": 7,
        "ThrottlingBurstLimit": 7,
    }
    assert found["HttpAPIRoute"]["Properties"]["RouteKey"] == "$default"
    assert found["HttpAPIIntegration"]["Properties"]["PayloadFormatVersion"] == "2.0"


def test_stage_without_alarms_has_none_for_its_fronts(monkeypatch):
    monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {"Watching": "off"})

    found = resources(FRONT="url,http")

    assert not [name for name, each in found.items() if each.get("Type") == "AWS::CloudWatch::Alarm"]


def test_concurrency_of_the_api_is_reserved():
    assert resources(RESERVED_API="9")["APIHandler"]["Properties"]["ReservedConcurrentExecutions"] == 9


def test_template_without_rest_api_keeps_everything_else():
    """`FRONT_SECRETS` would not protect a REST API."""
    names = {"Resources": ["APIHandler", "HttpAPI"], "Outputs": ["HttpAPIUrl"]}
    of_rest_api = {"Resources": ["RestAPI", "APIHandlerInvokePermission"], "Outputs": ["RestAPIId", "EndpointURL"]}
    template = {part: dict.fromkeys([*names[part], *of_rest_api[part]], "…") for part in names}

    left = json.loads(overlay.without_rest_api(json.dumps(template)))

    assert {part: [*named] for part, named in left.items()} == names
