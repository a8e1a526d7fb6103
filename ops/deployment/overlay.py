"""Render the overlay: the settings of the application's template that Chalice cannot express."""

import itertools
import json
from collections.abc import Collection
from typing import Any

from chalice.utils import to_cfn_resource_name

from chalicelib.extras import openapi
from chalicelib.projections import READ_MODEL, Projection
from chalicelib.settings import Settings
from ops import stages
from ops.deployment import gateway_responses, policies

#: The paths whose responses cost more than an increment. They have a lower rate limit.
_EXPENSIVE_PATHS = (
    "/counters",
    "/counters/{counter_id}/events",
    "/counters/{counter_id}/history",
    "/openapi.json",
    "/reports/{name}",
)
_READ_METHODS = ("GET", "HEAD")

#: For each front, the output of the application's stack that contains its address. Chalice adds the REST API's output.
ADDRESSES = {"rest": "EndpointURL", "http": "HttpAPIUrl", "url": "FunctionUrl"}

_VALUES = {"http": ["HttpAPI", "ApiEndpoint"], "url": ["APIHandlerUrl", "FunctionUrl"]}

#: The fields of a line of the access log, by API Gateway's names.
_ACCESS_LOG_FIELDS = {
    name: f"$context.{name}"
    for name in ("requestId", "requestTimeEpoch", "httpMethod", "path", "status", "responseLatency", "responseLength")
} | {"ip": "$context.identity.sourceIp", "userAgent": "$context.identity.userAgent"}

#: The operation that passes requests with undeclared methods to the function, which responds with 405. Otherwise, the
#: gateway would respond that the path is unknown.
_ANY_METHOD = {
    "responses": {},
    "x-amazon-apigateway-integration": {
        "type": "aws_proxy",
        "httpMethod": "POST",
        "uri": {
            "Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/"
            "${APIHandler.Arn}/invocations"
        },
    },
}


def render(settings: Settings) -> dict[str, Any]:
    """
    Return the settings that Chalice cannot express, for `chalice package --merge-template`.

    The overlay names functions after the stage, configures their event sources and concurrency, and limits requests. It
    also turns the gateway's own errors into problem documents, and declares the fronts other than the REST API, with
    their alarms.
    """
    name = f"counter-{settings.stage}"
    is_watched = stages.read_template_parameters(settings.stage).get("Watching", "on") == "on"
    # Imported from the data stack: the stage finds idempotency keys only with the value of SHARDS at its creation.
    shards = {"SHARDS": {"Fn::ImportValue": f"{name}-shards"}}
    queue = READ_MODEL.dead_letter_queue(settings.stage)
    dead_letters = f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{queue}"
    return {
        "Resources": {
            "APIHandler": {
                "Properties": {
                    "FunctionName": name,
                    **_reserve(settings.reserved_api),
                    **({} if settings.front == ("rest",) else {"Handler": "app.serve"}),
                    **({"FunctionUrlConfig": {"AuthType": "NONE"}} if "url" in settings.front else {}),
                    "Environment": {"Variables": shards},
                }
            },
            "Publish": {
                "Properties": {
                    "FunctionName": f"{name}-publish",
                    **_reserve(settings.reserved_publish),
                    "Events": {"PublishDynamodbEventSource": {"Properties": _stream_source(name, dead_letters)}},
                }
            },
            **{
                to_cfn_resource_name(projection.function): _queue_consumer(
                    name, projection, shards, settings.reserved_project
                )
                for projection in settings.projections
            },
            **({"Authorize": {"Properties": {"FunctionName": f"{name}-authorize"}}} if settings.has_authorizer else {}),
            "Check": {"Properties": {"FunctionName": f"{name}-check", "Environment": {"Variables": shards}}},
            "RestAPI": {
                "Properties": {
                    "Name": name,
                    # API Gateway names an imported API after its title, and alarms find it by name.
                    "DefinitionBody": {"info": {"title": name}, "paths": _serve_all_methods()},
                    # Any value keeps SAM from adding a stage named `Stage`, which would not be throttled.
                    "OpenApiVersion": "2.0",
                    "TracingEnabled": policies.is_traced(settings.stage, stages.PROJECT / ".chalice"),
                    "MethodSettings": [
                        _throttle("/*", "*", settings.requests_per_s),
                        *(
                            _throttle(path, method, min(settings.expensive_reads_per_s, settings.requests_per_s))
                            for path, method in itertools.product(_EXPENSIVE_PATHS, _READ_METHODS)
                        ),
                    ],
                    **({"AccessLogSetting": _access_log(name)} if settings.access_log else {}),
                    "GatewayResponses": gateway_responses.render(settings),
                }
            },
            **(_firewall(name, settings.waf) if settings.waf else {}),
            **(_http_api(name, settings.requests_per_s) if "http" in settings.front else {}),
            **(_alarms(name, settings.front) if is_watched else {}),
        },
        "Outputs": {
            ADDRESSES[front]: {"Value": {"Fn::GetAtt": value}}
            for front, value in _VALUES.items()
            if front in settings.front
        },
    }


def without_rest_api(template: str) -> str:
    """Return this template of the application without the REST API, which `chalice package` always adds."""
    parsed = json.loads(template)
    for name in ("RestAPI", "APIHandlerInvokePermission"):
        del parsed["Resources"][name]
    for name in ("RestAPIId", ADDRESSES["rest"]):
        del parsed["Outputs"][name]
    return json.dumps(parsed, indent=2)


def _http_api(name: str, requests_per_s: int) -> dict[str, Any]:
    """Return an HTTP API that passes every request to the API's function, within this rate."""
    api = {"Ref": "HttpAPI"}
    function = {"Fn::GetAtt": ["APIHandler", "Arn"]}
    source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpAPI}/*"
    limits = {"ThrottlingRateLimit": requests_per_s, "ThrottlingBurstLimit": requests_per_s}
    return {
        "HttpAPI": _resource("ApiGatewayV2::Api", Name=name, ProtocolType="HTTP"),
        "HttpAPIIntegration": _resource(
            "ApiGatewayV2::Integration",
            ApiId=api,
            IntegrationType="AWS_PROXY",
            IntegrationUri=function,
            PayloadFormatVersion="2.0",
        ),
        "HttpAPIRoute": _resource(
            "ApiGatewayV2::Route",
            ApiId=api,
            RouteKey="$default",
            Target={"Fn::Sub": "integrations/${HttpAPIIntegration}"},
        ),
        "HttpAPIStage": _resource(
            "ApiGatewayV2::Stage", ApiId=api, StageName="$default", AutoDeploy=True, DefaultRouteSettings=limits
        ),
        "HttpAPIPermission": _resource(
            "Lambda::Permission",
            Action="lambda:InvokeFunction",
            FunctionName=function,
            Principal="apigateway.amazonaws.com",
            SourceArn={"Fn::Sub": source},
        ),
    }


def _alarms(name: str, fronts: Collection[str]) -> dict[str, Any]:
    """Return the alarms of the fronts other than the REST API. The data stack contains the REST API's alarm."""
    measured = {
        "http": ("AWS/ApiGateway", "5xx", {"Name": "ApiId", "Value": {"Ref": "HttpAPI"}}),
        "url": ("AWS/Lambda", "Url5xxCount", {"Name": "FunctionName", "Value": name}),
    }
    topic = {"Fn::Sub": f"arn:${{AWS::Partition}}:sns:${{AWS::Region}}:${{AWS::AccountId}}:{name}-alarms"}
    return {
        f"{front.title()}5xx": _resource(
            "CloudWatch::Alarm",
            AlarmName=f"{name}-{front}-5xx",
            AlarmDescription="Clients get 5xx. Clients that do not retry lose increments. Search the API's log for "
            "`request failed`, and check throttled tables and the API's errors and throttles.",
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[dimension],
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=3,
            DatapointsToAlarm=2,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[topic],
            OKActions=[topic],
        )
        for front, (namespace, metric, dimension) in measured.items()
        if front in fronts
    }


def _resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def _throttle(path: str, method: str, requests_per_s: int) -> dict[str, Any]:
    return {
        "HttpMethod": method,
        # API Gateway encodes a path's slashes as in a JSON pointer, except for the first one.
        "ResourcePath": "/" + path.replace("/", "~1") if path != "/*" else path,
        "ThrottlingRateLimit": requests_per_s,
        "ThrottlingBurstLimit": requests_per_s,
    }


def _firewall(name: str, requests_per_address: int) -> dict[str, Any]:
    """
    Return a web ACL and its association with the API.

    The web ACL blocks an address that sends more than `requests_per_address` requests in five minutes.
    """

    def show(metric: str) -> dict[str, Any]:
        # Samples contain the addresses of clients.
        return {"CloudWatchMetricsEnabled": True, "MetricName": metric, "SampledRequestsEnabled": False}

    limit = {"AggregateKeyType": "IP", "EvaluationWindowSec": 300, "Limit": requests_per_address}
    rule = {
        "Name": "requests-per-address",
        "Priority": 0,
        "Statement": {"RateBasedStatement": limit},
        "Action": {"Block": {}},
        "VisibilityConfig": show("requests-per-address"),
    }
    stage = "arn:${AWS::Partition}:apigateway:${AWS::Region}::/restapis/${RestAPI}/stages/${RestAPI.Stage}"
    return {
        "Firewall": _resource(
            "WAFv2::WebACL",
            Name=name,
            Scope="REGIONAL",
            DefaultAction={"Allow": {}},
            Rules=[rule],
            VisibilityConfig=show(name),
        ),
        "FirewallAssociation": _resource(
            "WAFv2::WebACLAssociation", ResourceArn={"Fn::Sub": stage}, WebACLArn={"Fn::GetAtt": ["Firewall", "Arn"]}
        ),
    }


def _access_log(name: str) -> dict[str, Any]:
    """Return the setting that makes the gateway write a line per request to the log group of the stage's data stack."""
    arn = f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:/aws/apigateway/{name}"
    return {"DestinationArn": {"Fn::Sub": arn}, "Format": json.dumps(_ACCESS_LOG_FIELDS)}


def _reserve(number: int | None) -> dict[str, int]:
    return {"ReservedConcurrentExecutions": number} if number else {}


def _serve_all_methods() -> dict[str, Any]:
    paths = json.loads(openapi.FILE.read_text(encoding="utf-8"))["paths"]
    return {path: {"x-amazon-apigateway-any-method": _ANY_METHOD} for path in paths}


def _queue_consumer(
    name: str, projection: Projection, variables: dict[str, Any], reserved: int | None
) -> dict[str, Any]:
    resource = to_cfn_resource_name(projection.function)
    return {
        "Properties": {
            "FunctionName": f"{name}-{projection.function}",
            **_reserve(reserved),
            "Environment": {"Variables": {"PARTIAL_BATCH_RESPONSES": "1", **variables}},
            "Events": {
                f"{resource}SqsEventSource": {"Properties": {"FunctionResponseTypes": ["ReportBatchItemFailures"]}}
            },
        }
    }


def _stream_source(name: str, dead_letters: str) -> dict[str, Any]:
    return {
        "Stream": {"Fn::ImportValue": f"{name}-event-log-stream"},
        "FilterCriteria": {"Filters": [{"Pattern": json.dumps({"eventName": ["INSERT"]})}]},
        "BisectBatchOnFunctionError": True,
        # Half of the stream's 24-hour retention. The operator has the other half to read discarded records.
        "MaximumRecordAgeInSeconds": 43_200,
        "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": {"Fn::Sub": dead_letters}}},
    }
