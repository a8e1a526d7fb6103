"""
Test which callers may increment and read, with requests from each kind of caller to deployed stages.

A refused request must not reach the function, and nothing may be recorded. `access_table` has the expected verdicts.
"""

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.e2e import access_table
from tests.e2e.access_table import ALLOWED, BY_CALLER
from tests.e2e.conftest import PROJECT, configure, copy_project, deploy, eventually, ops, run

#: A function that returns the address and the headers of a request with this method to this address.
Caller = Callable[[str, str], tuple[str, dict[str, str]]]

pytestmark = pytest.mark.exhaustive

#: The stages, by their value of WRITERS and READERS.
STAGES = {"api-key": "keyed", "iam": "signed"}
INCREMENT, QUERY = "/counters/clicks/increments", "/counters/clicks"

#: A 404 that comes from the function, because the stages have no reports.
REACHED = ("reports-off",)


@dataclass(frozen=True)
class Stage:
    """A deployed stage, its API's id and address, and the project from which it was deployed."""

    name: str
    api_id: str
    url: str
    project: Path

    def count_events(self) -> int:
        return boto3.client("dynamodb").scan(TableName=f"counter-{self.name}-event-log", Select="COUNT")["Count"]

    def count_invocations(self, since_ms: int) -> int:
        """Count the invocations of the function in its log. The embedded AWS returns no more than 10,000 lines."""
        pages = boto3.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/lambda/counter-{self.name}", startTime=since_ms)
        return sum(event["message"].startswith("START") for page in found for event in page["events"])

    def keys(self, *arguments: str) -> dict[str, Any]:
        process = ops("keys", *arguments, "--stage", self.name, "--json", at=self.project)
        assert process.returncode == 0, process.stderr
        result: dict[str, Any] = json.loads(process.stdout)
        return result


def deploy_stage(name: str, project: Path) -> Stage:
    facts = deploy(project, name)
    return Stage(name, facts["ApiId"], facts["Url"], project)


@pytest.fixture(scope="module")
def stages(place, tmp_path_factory) -> Iterator[dict[str, Stage]]:
    """Deploy a stage for each setting but `anyone`."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    for callers, name in STAGES.items():
        configure(project, name, WRITERS=callers, READERS=callers, COUNTERS="*")
    for name in STAGES.values():
        provisioned = ops("provision", "--stage", name, at=project)
        assert provisioned.returncode == 0, provisioned.stderr
    yield {callers: deploy_stage(name, project) for callers, name in STAGES.items()}
    for name in STAGES.values():
        ops("destroy", "--stage", name, "--data", "--confirm", name, at=project)


def describe_verdict(response: httpx.Response) -> str:
    """Return the verdict on a request: allowed, or the status and the problem's type."""
    if response.status_code < 400:
        return ALLOWED
    kind = response.json()["type"].rpartition(":")[2]
    if response.status_code == 405:
        return "405"
    return ALLOWED if kind in REACHED else f"{response.status_code} {kind}"


def send(caller: Caller, stage: Stage, method: str, path: str, **more: Any) -> httpx.Response:
    url, headers = caller(method, f"{stage.url}{path}")
    return httpx.request(method, url, headers=headers, timeout=60, **more)


def anonymous(_method: str, url: str) -> tuple[str, dict[str, str]]:
    return url, {}


@pytest.mark.parametrize("callers", ["anyone", *STAGES])
def test_requests_without_credentials_have_the_listed_verdicts(stages, api_url, callers):
    check_requests_without_credentials(stages.get(callers) or Stage("local", "", api_url, PROJECT), callers)


def check_requests_without_credentials(stage: Stage, callers: str) -> None:
    """Check that refused requests are problem documents with CORS headers, invoke no function, and record nothing."""
    event_id = "01890a5d-ac96-774b-bcce-b302099a8057"
    if callers == "anyone":
        event_id = send(anonymous, stage, "POST", INCREMENT).json()["event_id"]
    names = {"counter_id": "clicks", "event_id": event_id, "name": "top_counters"}
    events, since_ms = stage.count_events(), time.time_ns() // 1_000_000
    verdicts, reached = {}, 0

    for method, path in access_table.list_routes():
        expected = access_table.expect_without_credentials(callers, method, path)
        response = send(anonymous, stage, method, path.format(**names))
        if method == "HEAD":
            is_allowed = response.status_code in (200, 404)
            verdicts[method, path] = expected if is_allowed is (expected == ALLOWED) else f"{response.status_code}"
            assert response.content == b""
        else:
            verdicts[method, path] = describe_verdict(response)
        reached += method != "OPTIONS" and expected in (ALLOWED, access_table.NO_METHOD)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        if response.status_code >= 400:
            assert response.headers["Content-Type"] == "application/problem+json"

    assert verdicts == {
        (method, path): access_table.expect_without_credentials(callers, method, path)
        for method, path in access_table.list_routes()
    }
    eventually(lambda: stage.count_invocations(since_ms) >= reached)
    assert stage.count_invocations(since_ms) == reached
    assert stage.count_events() == events + (callers == "anyone")


def check_verdicts(stage: Stage, callers: Mapping[str, Caller], expected: dict[str, tuple[str, str]]) -> None:
    """Send each caller's increment and query, and compare the verdicts, events and invocations with the table."""
    events, since_ms = stage.count_events(), time.time_ns() // 1_000_000
    verdicts = {}

    for name, caller in callers.items():
        responses = (send(caller, stage, "POST", INCREMENT), send(caller, stage, "GET", QUERY))
        verdicts[name] = tuple(map(describe_verdict, responses))
        assert send(caller, stage, "HEAD", QUERY).status_code == responses[1].status_code, name
        assert all(response.headers["Access-Control-Allow-Origin"] == "*" for response in responses)
        assert [response.headers.get("Retry-After") is not None for response in responses] == [
            response.status_code == 429 for response in responses
        ]

    assert verdicts == expected
    increments, queries = (sum(each[column] == ALLOWED for each in expected.values()) for column in (0, 1))
    eventually(lambda: stage.count_invocations(since_ms) >= increments + 2 * queries)
    assert stage.count_invocations(since_ms) == increments + 2 * queries
    assert stage.count_events() == events + increments


@pytest.fixture(scope="module")
def key(stages) -> str:
    """Return the secret of a key of the stage with keys."""
    secret: str = stages["api-key"].keys("add", "shop")["key"]
    return secret


def with_header(name: str, value: str) -> Caller:
    return lambda _method, url: (url, {name: value})


def add_slow_key(stage: Stage, name: str) -> str:
    """Add a key whose second request is above its rate for a quarter of an hour, so that one request suffices."""
    key: str = stage.keys("add", name, "--rate", "1", "--burst", "1")["key"]
    client = boto3.client("apigateway")
    (plan,) = (
        each["id"]
        for each in client.get_usage_plans(limit=500)["items"]
        if each["name"] == f"counter-{stage.name}.{name}"
    )
    change: Any = {"op": "replace", "path": "/throttle/rateLimit", "value": "0.001"}
    client.update_usage_plan(usagePlanId=plan, patchOperations=[change])
    return key


def test_callers_with_keys_have_the_listed_verdicts(stages, key):
    stage = stages["api-key"]
    foreign, gone = stages["iam"].keys("add", "shop"), stage.keys("add", "gone")
    stage.keys("remove", "gone")
    slow = add_slow_key(stage, "slow")
    spent = stage.keys("add", "spent", "--quota", "1", "--period", "month")["key"]
    for limited in (slow, spent):
        assert send(with_header("x-api-key", limited), stage, "GET", QUERY).status_code == 200
    own_id = next(each["id"] for each in stage.keys()["keys"] if each["name"] == "shop")
    values = {
        "a key of the stage": key,
        "an empty key": "",
        "an unknown key": "A" * 40,
        "a key of the stage, with upper and lower case swapped": key.swapcase(),
        "the first characters of a key": key[:-1],
        "the id of a key": own_id,
        "a key of another stage": foreign["key"],
        "a removed key": gone["key"],
        "a key that exceeds its rate": slow,
        "a key that exceeds its quota": spent,
    }
    callers: dict[str, Caller] = {
        **{name: with_header("x-api-key", value) for name, value in values.items()},
        "no key": anonymous,
        "a key of the stage, in `X-API-KEY`": with_header("X-API-KEY", key),
        "a key of the stage, in the query": lambda _method, url: (f"{url}?x-api-key={key}&api_key={key}", {}),
        "a key of the stage, in `Authorization`": with_header("Authorization", f"Bearer {key}"),
        "a key of the stage, in a cookie": with_header("Cookie", f"x-api-key={key}"),
        "a signature of the account's root": sign_with(find_root()),
    }

    check_verdicts(stage, callers, BY_CALLER["api-key"])


@pytest.mark.parametrize("callers", STAGES)
def test_operators_see_the_caller_of_an_increment(stages, key, create_user, callers):
    stage = stages[callers]
    caller = with_header("x-api-key", key) if callers == "api-key" else sign_with(create_user(f"{stage.api_id}/api/*"))
    event_id = send(caller, stage, "POST", "/counters/signed/increments").json()["event_id"]

    shown = ops("show", "signed", "--event", event_id, "--json", "--stage", stage.name, at=stage.project)

    (own_id,) = (each["id"] for each in stages["api-key"].keys()["keys"] if each["name"] == "shop")
    assert (f"api-key {own_id}" if callers == "api-key" else ":user/caller-") in shown.stdout


def test_key_counts_towards_its_own_limits_only(stages, key):
    stage = stages["api-key"]

    slow = add_slow_key(stage, "slower")
    statuses = [
        send(with_header("x-api-key", each), stage, "GET", QUERY).status_code for each in (slow, slow, key, key)
    ]

    assert statuses == [200, 429, 200, 200]


def find_root() -> Credentials:
    return Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


class _Signature(SigV4Auth):
    """A signature that was made a number of minutes ago."""

    def __init__(self, *arguments: Any, minutes: int) -> None:
        super().__init__(*arguments)
        self._age = datetime.timedelta(minutes=minutes)

    def add_auth(self, request: Any) -> None:
        signer: Any = self  # these methods are private in botocore's types
        request.context["timestamp"] = (datetime.datetime.now(datetime.UTC) - self._age).strftime("%Y%m%dT%H%M%SZ")
        signer._modify_request_before_signing(request)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        signer._inject_signature_to_request(request, signer.signature(text, request))


def sign_with(
    credentials: Credentials,
    *,
    service: str = "execute-api",
    region: str = "us-east-1",
    minutes: int = 0,
    change: Callable[[str, str], tuple[str, str, bytes]] = lambda method, url: (method, url, b""),
) -> Caller:
    """Sign requests. `change` returns the method, address and body that are signed instead of those that are sent."""

    def sign(method: str, url: str) -> tuple[str, dict[str, str]]:
        signed_method, signed_url, body = change(method, url)
        request = AWSRequest(signed_method, signed_url, data=body)
        _Signature(credentials, service, region, minutes=minutes).add_auth(request)
        return url, dict(request.headers.items())

    return sign


def sign_query_with(credentials: Credentials) -> Caller:
    def sign(method: str, url: str) -> tuple[str, dict[str, str]]:
        request = AWSRequest(method, url)
        SigV4QueryAuth(credentials, "execute-api", "us-east-1", expires=60).add_auth(request)
        return str(request.url), {}

    return sign


@pytest.fixture(scope="module")
def create_user(place) -> Iterator[Callable[..., Credentials]]:
    """Create IAM users that may send the requests to these resources of APIs, or that have this policy."""
    client = boto3.client("iam")
    names: list[str] = []

    def create(*resources: str, policy: dict[str, Any] | None = None) -> Credentials:
        name = f"caller-{len(names)}"
        names.append(name)
        client.create_user(UserName=name)
        if resources:
            arns = [f"arn:aws:execute-api:us-east-1:000000000000:{resource}" for resource in resources]
            statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": arns}
            policy = {"Version": "2012-10-17", "Statement": [statement]}
        if policy:
            client.put_user_policy(UserName=name, PolicyName="call", PolicyDocument=json.dumps(policy))
        key = client.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    yield create
    for name in names:
        for each in client.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            client.delete_access_key(UserName=name, AccessKeyId=each["AccessKeyId"])
        for policy in client.list_user_policies(UserName=name)["PolicyNames"]:
            client.delete_user_policy(UserName=name, PolicyName=policy)
        client.delete_user(UserName=name)


def test_callers_with_signatures_have_the_listed_verdicts(stages, create_user):
    stage, other = stages["iam"], stages["api-key"]
    own = create_user(f"{stage.api_id}/api/*")
    session = boto3.client("sts").get_session_token()["Credentials"]
    callers: dict[str, Caller] = {
        "a principal with `execute-api:Invoke` on the stage": sign_with(own),
        "the same principal, with the signature in the query": sign_query_with(own),
        "a principal that may only read": sign_with(
            create_user(f"{stage.api_id}/api/GET/*", f"{stage.api_id}/api/HEAD/*")
        ),
        "a principal that may only increment another counter": sign_with(
            create_user(f"{stage.api_id}/api/POST/counters/likes/increments")
        ),
        "a principal of another stage": sign_with(create_user(f"{other.api_id}/api/*")),
        "a principal without permissions": sign_with(create_user()),
        "no signature": anonymous,
        "an unknown access key": sign_with(Credentials("AKIAIOSFODNN7EXAMPLE", "test")),
        "a wrong secret": sign_with(Credentials(own.access_key, "wrong")),
        "root's access key, with a wrong secret": sign_with(Credentials(find_root().access_key, "wrong")),
        "a session without its token": sign_with(Credentials(session["AccessKeyId"], session["SecretAccessKey"])),
        "a signature from 20 minutes ago": sign_with(own, minutes=20),
        "a signature dated 20 minutes ahead": sign_with(own, minutes=-20),
        "a signature for another service": sign_with(own, service="s3"),
        "a signature for another region": sign_with(own, region="eu-west-1"),
        "a signature for another path": sign_with(
            own, change=lambda method, url: (method, url.replace("clicks", "likes"), b"")
        ),
        "a signature for another method": sign_with(own, change=lambda _method, url: ("PUT", url, b"")),
        "a signature for another body": sign_with(own, change=lambda method, url: (method, url, b'{"by":1}')),
        "a signature for another stage": sign_with(
            own, change=lambda method, url: (method, url.replace(stage.api_id, other.api_id), b"")
        ),
        "a malformed signature": with_header("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
        "a token": with_header("Authorization", "Bearer token"),
        "an API key": with_header("X-Api-Key", stage.keys("add", "unused")["key"]),
    }

    check_verdicts(stage, callers, BY_CALLER["iam"])


def test_replayed_signature_counts_again_unless_it_signs_a_key(stages, create_user):
    """A signature is valid for minutes. The idempotency key makes a captured request harmless."""
    stage = stages["iam"]
    url, headers = sign_with(create_user(f"{stage.api_id}/api/*"))("POST", f"{stage.url}/counters/replayed/increments")

    statuses = [httpx.post(url, headers=headers | {"Idempotency-Key": "once"}, timeout=60) for _ in range(2)]

    assert [each.status_code for each in statuses] == [202, 202]
    assert statuses[1].headers["Idempotency-Replayed"] == "true"
    assert statuses[0].json() == statuses[1].json()


@pytest.mark.parametrize("headers", [{"X-HTTP-Method-Override": "POST"}, {"X-Original-URL": INCREMENT}])
@pytest.mark.parametrize("callers", STAGES)
def test_headers_do_not_change_the_method_or_path(stages, callers, headers):
    stage = stages[callers]
    events = stage.count_events()

    opened = httpx.get(f"{stage.url}/", headers=headers, timeout=60)
    refused = httpx.request("DELETE", f"{stage.url}{INCREMENT}", headers=headers, timeout=60)

    assert (opened.status_code, refused.status_code) == (200, 405)
    assert opened.json()["service"] == "counter"
    assert stage.count_events() == events


@pytest.mark.parametrize("path", ["//counters/clicks", "/counters/./clicks", "/counters%2Fclicks", "/counters/clicks/"])
@pytest.mark.parametrize("callers", STAGES)
def test_other_spellings_of_a_path_are_refused(stages, callers, path):
    stage = stages[callers]

    response = httpx.get(f"{stage.url}{path}", timeout=60)

    assert response.status_code in (403, 404)
    assert "value" not in response.json()


@pytest.mark.parametrize("sent", [("valid", "wrong"), ("wrong", "valid")])
def test_repeated_key_headers_are_accepted_only_with_a_valid_key(stages, key, sent):
    """API Gateway does not document which of several headers it reads."""
    stage = stages["api-key"]
    values = {"valid": key, "wrong": "A" * 40}

    headers = [("x-api-key", values[each]) for each in sent]
    wrong = httpx.get(f"{stage.url}{QUERY}", headers=[("x-api-key", values["wrong"])] * 2, timeout=60)
    mixed = httpx.get(f"{stage.url}{QUERY}", headers=headers, timeout=60)

    assert wrong.status_code == 403
    assert mixed.status_code in (200, 403)


@pytest.mark.parametrize(("callers", "scheme"), [("api-key", "X-Api-Key"), ("iam", "Authorization")])
def test_openapi_document_names_the_credentials(stages, callers, scheme):
    document = httpx.get(f"{stages[callers].url}/openapi.json", timeout=60).json()

    secured = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") == [{callers: []}]
    }
    assert secured == {
        (method, path)
        for method, path in access_table.list_routes()
        if method in {"GET", "HEAD", "POST"} and path in document["paths"] and path not in access_table.OPEN
    }
    assert document["components"]["securitySchemes"][callers]["name"] == scheme


def test_added_key_is_shown_with_a_command_that_works(stages):
    stage = stages["api-key"]

    shown = ops("keys", "add", "shown", "--stage", stage.name, at=stage.project)

    (command,) = (line.strip() for line in shown.stdout.splitlines() if line.strip().startswith("curl"))
    assert f"{stage.url}{INCREMENT.replace('clicks', 'visits')}" in command
    answer = run("bash", "-c", f"{command} --silent --noproxy '*'", at=stage.project)
    assert json.loads(answer.stdout)["counter_id"] == "visits"


def test_key_that_the_stage_does_not_check_is_created_with_a_warning(stages):
    stage = stages["iam"]

    added = ops("keys", "add", "early", "--stage", stage.name, at=stage.project)

    assert added.returncode == 0
    assert "Stage signed does not check API keys: set WRITERS or READERS to api-key" in added.stderr


def test_operator_policy_suffices_for_keys(stages, create_user):
    stage = stages["api-key"]
    user = create_user(policy=json.loads(ops("policy", "--stage", stage.name, "--json", at=stage.project).stdout))
    own = {"AWS_ACCESS_KEY_ID": user.access_key, "AWS_SECRET_ACCESS_KEY": user.secret_key}

    done = [
        ops("keys", *arguments, "--stage", stage.name, at=stage.project, **own)
        for arguments in (["add", "own"], ["list"], ["remove", "own"])
    ]

    assert [each.stderr for each in done if each.returncode] == []


def test_keys_still_work_after_a_deployment_that_changes_the_api(stages, key):
    stage = stages["api-key"]
    for name in ("app.py", "chalicelib/extras/openapi.json"):
        file = stage.project / name
        file.write_text(file.read_text(encoding="utf-8").replace("/history", "/chronicle"), encoding="utf-8")

    again = deploy(stage.project, stage.name)

    statuses = [
        send(caller, stage, "GET", f"{QUERY}{path}").status_code
        for caller in (with_header("x-api-key", key), anonymous)
        for path in ("", "/chronicle", "/history")
    ]
    assert again["ApiId"] == stage.api_id
    assert statuses == [200, 200, 404, 403, 403, 404]


def test_destroy_removes_only_the_keys_and_usage_plans_of_the_stage(stages, key):
    stage, client = stages["iam"], boto3.client("apigateway")

    def list_names() -> set[str]:
        keys, plans = client.get_api_keys(limit=500)["items"], client.get_usage_plans(limit=500)["items"]
        return {each["name"] for each in (*keys, *plans)}

    stage.keys("add", "doomed")
    names = list_names()
    listed = ops("destroy", "--stage", stage.name, "--dry-run", at=stage.project)
    done = ops("destroy", "--stage", stage.name, "--yes", at=stage.project)

    own = {name for name in names if name.startswith(f"counter-{stage.name}.")}
    assert all(f"AWS::ApiGateway::UsagePlan {name}" in listed.stdout for name in own)
    assert done.returncode == 0, done.stderr
    assert list_names() == names - own
    assert send(with_header("x-api-key", key), stages["api-key"], "GET", QUERY).status_code == 200
