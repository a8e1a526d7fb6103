"""A stage with several origins, a limit per address and a budget, deployed as operators do it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest

import app
from tests.e2e.conftest import configure, copy_project, deploy, eventually, ops

pytestmark = pytest.mark.exhaustive

STAGE = "origins"
FIRST, SECOND, FOREIGN = "https://page.example", "http://localhost:8080", "https://foreign.example"
#: The local page has an origin for each of these names.
HOSTS = ("127.0.0.1", "localhost")
EVENT = "0197a9d4-6f0e-7c3a-9d51-2b8e6f3c7a10"
PATHS = [path.format(counter_id="a", event_id=EVENT, name="daily") for path in app.app.routes]

#: Requests of each kind of response: the application's, Chalice's and API Gateway's own.
REQUESTS = {
    "read": ("GET", "/counters/a", 200),
    "head": ("HEAD", "/counters/a", 200),
    "invalid": ("GET", "/counters/a%20b", 400),
    "wrong method": ("PUT", "/counters/a", 405),
    "unknown path": ("GET", "/nothing", 404),
}


@pytest.fixture(scope="module")
def project(place, tmp_path_factory) -> Path:
    """Copy the project, and configure a stage with these settings."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    origins = [FIRST, SECOND, *(f"http://{host}:{place.page_port}" for host in HOSTS)]
    configure(folder, STAGE, {"Budget": 50}, ALLOWED_ORIGIN=",".join(origins), WAF="100000", COUNTERS="*")
    return folder


@pytest.fixture(scope="module")
def http(place, project) -> Iterator[httpx.Client]:
    """Deploy the project, and return a client of its API."""
    provisioned = ops("provision", "--stage", STAGE, at=project)
    assert provisioned.returncode == 0, provisioned.stderr
    with httpx.Client(base_url=deploy(project, STAGE)["Url"], timeout=60) as client:
        yield client


@pytest.mark.parametrize("origin", [FIRST, SECOND])
@pytest.mark.parametrize(("method", "path", "status"), REQUESTS.values(), ids=REQUESTS)
def test_every_response_names_the_origin_that_asked(http, method, path, status, origin):
    response = http.request(method, path, headers={"Origin": origin})

    assert response.status_code == status
    assert response.headers.get_list("Access-Control-Allow-Origin") == [origin]
    assert response.headers["Vary"] == "Origin"
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("path", PATHS)
def test_preflight_of_a_second_origin_is_granted(http, path):
    asked = {"Origin": SECOND, "Access-Control-Request-Method": "GET"}

    response = http.options(path, headers=asked)

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == SECOND
    assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("headers", [{}, {"Origin": FOREIGN}])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_foreign_origin_is_never_named_by_the_application(http, method, headers):
    response = http.request(method, "/counters/a", headers=headers)

    assert response.headers["Access-Control-Allow-Origin"] == FIRST
    assert response.headers["Vary"] == "Origin"


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no `chromium` on the PATH")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


@pytest.mark.parametrize("host", HOSTS)
def test_page_of_each_allowed_origin_counts_a_click(http, chromium, place, host):
    """Both are pages of other origins than the API's. The click needs a preflight."""
    from tests.browser.pages import configure

    counter_id = f"clicks-{host}"
    page = chromium.new_page(service_workers="block")
    page.set_default_timeout(60_000)
    configure(page, json.dumps({"api_url": str(http.base_url), "max_increment": 1000}))

    page.goto(f"http://{host}:{place.page_port}/#/{counter_id}")
    page.locator("#increment").click()

    eventually(lambda: http.get(f"/counters/{counter_id}").raise_for_status().json()["value"] == 1)
    eventually(lambda: page.locator("#value").inner_text() == "1")


@pytest.fixture
def limit_of_ten(http):
    """Lower the limit of the deployed web ACL to ten requests from an address in five minutes."""
    waf = boto3.client("wafv2")
    (found,) = (one for one in waf.list_web_acls(Scope="REGIONAL")["WebACLs"] if one["Name"] == f"counter-{STAGE}")
    key = {"Name": found["Name"], "Scope": "REGIONAL", "Id": found["Id"]}
    acl = waf.get_web_acl(**key)
    fixed = {**key, **{name: acl["WebACL"][name] for name in ("DefaultAction", "VisibilityConfig")}}
    rules = json.loads(json.dumps(acl["WebACL"]["Rules"]))
    (statement,) = (rule["Statement"]["RateBasedStatement"] for rule in rules)
    assert statement == {"AggregateKeyType": "IP", "EvaluationWindowSec": 300, "Limit": 100_000}
    statement["Limit"] = 10
    lowered = waf.update_web_acl(**fixed, Rules=rules, LockToken=acl["LockToken"])
    yield 10
    waf.update_web_acl(**fixed, Rules=acl["WebACL"]["Rules"], LockToken=lowered["NextLockToken"])


@pytest.mark.parametrize("origin", [FIRST, SECOND])
def test_address_above_the_limit_gets_a_429_that_pages_can_read(http, limit_of_ten, origin):
    """The firewall refuses the request before the application, so the counter keeps its value."""
    for _ in range(limit_of_ten):
        http.get("/counters/waf")
    refused = http.post("/counters/waf/increments", headers={"Origin": origin, "Idempotency-Key": "k"})

    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["status"] == 429
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["Access-Control-Allow-Origin"] == origin
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]


def test_budget_notifies_the_topic_of_the_alarms(http):
    account = boto3.client("sts").get_caller_identity()["Account"]
    name = f"counter-{STAGE}-{boto3.Session().region_name}"
    client = boto3.client("budgets")

    budget = client.describe_budget(AccountId=account, BudgetName=name)["Budget"]
    notifications = client.describe_notifications_for_budget(AccountId=account, BudgetName=name)["Notifications"]
    subscribers = [
        client.describe_subscribers_for_notification(AccountId=account, BudgetName=name, Notification=each)
        for each in notifications
    ]

    (topic,) = {one["Address"] for each in subscribers for one in each["Subscribers"]}
    policy = json.loads(boto3.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    (statement,) = policy["Statement"]
    assert (float(budget["BudgetLimit"]["Amount"]), budget["BudgetLimit"]["Unit"]) == (50, "USD")
    assert {(each["NotificationType"], each["Threshold"]) for each in notifications} == {
        ("ACTUAL", 80),
        ("FORECASTED", 100),
    }
    assert topic.endswith(f":counter-{STAGE}-alarms")
    assert set(statement["Principal"]["Service"]) == {"budgets.amazonaws.com", "cloudwatch.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": account}}


def test_budget_without_alarms_is_refused_in_one_line(place, tmp_path):
    folder = copy_project(tmp_path)
    configure(folder, "dev", {"Budget": 50, "Watching": "off"}, COUNTERS="*")

    refused = ops("provision", "--stage", "dev", at=folder)

    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "Budget requires Watching to be on" in line


def test_throttled_request_gets_a_429_that_pages_can_read(http):
    """Lower the stage's limit for one method to one request in a quarter of an hour."""
    gateway = boto3.client("apigateway")
    (api_id,) = (api["id"] for api in gateway.get_rest_apis(limit=500)["items"] if api["name"] == f"counter-{STAGE}")
    limits = {"rateLimit": "0.001", "burstLimit": "1"}
    gateway.update_stage(
        restApiId=api_id,
        stageName="api",
        patchOperations=[
            {"op": "replace", "path": f"/~1reports/GET/throttling/{limit}", "value": value}
            for limit, value in limits.items()
        ],
    )

    responses = [http.get("/reports", headers={"Origin": SECOND}) for _ in range(20)]

    refused = [response for response in responses if response.status_code == 429]
    assert refused
    assert {response.headers["Retry-After"] for response in refused} == {"1"}
    assert {response.headers["Content-Type"] for response in refused} == {"application/problem+json"}
    assert {response.headers["Access-Control-Allow-Origin"] for response in refused} == {SECOND}


def test_deploy_without_waf_removes_the_firewall(http, project):
    """No other command is needed, and nothing remains to pay for."""

    def list_firewalls():
        acls = boto3.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
        return [acl["Name"] for acl in acls if acl["Name"] == f"counter-{STAGE}"]

    before = list_firewalls()
    configure(project, STAGE, WAF=None)

    done = ops("deploy", "--stage", STAGE, at=project)

    assert done.returncode == 0, done.stderr
    assert before == [f"counter-{STAGE}"]
    assert list_firewalls() == []
    assert http.get("/counters/a").status_code == 200
