"""A stage whose WRITERS and READERS are `jwt`: API Gateway, the authorizer function and a local issuer over TLS."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest

from tests import issuer as issuers
from tests.e2e import access_table, test_access
from tests.e2e.conftest import configure, copy_project, eventually, ops
from tests.e2e.test_access import Caller, Stage, sign_with, with_header
from tests.issuer import Issuer

pytestmark = pytest.mark.exhaustive

STAGE = "tokens"

AN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"

#: Routes with counter data, and their status for a valid token.
ROUTES = {
    ("POST", "/counters/clicks/increments"): 202,
    ("GET", "/counters/clicks"): 200,
    ("HEAD", "/counters/clicks"): 200,
    ("GET", "/counters/clicks/cached"): 200,
    ("GET", "/counters/clicks/events"): 200,
    ("GET", f"/counters/clicks/events/{AN_ID}"): 404,
    ("GET", "/counters/clicks/history"): 200,
    ("HEAD", "/counters/clicks/badge.svg"): 200,
    ("GET", "/counters"): 200,
}


@dataclass
class Deployed:
    """The deployed stage, its issuer, and the response to a valid token while the issuer was down."""

    stage: Stage
    issuer: Issuer
    outage: httpx.Response

    def send(self, method: str, path: str, token: str, **headers: str) -> httpx.Response:
        sent = {"Authorization": token, **headers}
        return httpx.request(method, f"{self.stage.url}{path}", headers=sent, timeout=60)


@pytest.fixture(scope="module")
def deployed(place, tmp_path_factory) -> Iterator[Deployed]:
    """Deploy the stage. Its functions trust the certificate of the issuer, as they trust public ones."""
    folder = tmp_path_factory.mktemp("tokens")
    project = copy_project(folder)
    certificate = issuers.write_certificate(folder / "certificate.pem")
    with issuers.serve(certificate) as issuer:
        of_tokens = {"JWT_ISSUER": issuer.address, "JWT_AUDIENCE": issuers.AUDIENCE, "SSL_CERT_FILE": str(certificate)}
        configure(project, STAGE, COUNTERS="*", WRITERS="jwt", READERS="jwt", **of_tokens)
        operate(project, "provision")
        stage = test_access.deploy_stage(STAGE, project)
        issuer.is_down = True
        token = {"Authorization": issuer.make_token()}
        outage = httpx.get(f"{stage.url}/counters", headers=token, timeout=60)
        issuer.is_down = False
        yield Deployed(stage, issuer, outage)
        operate(project, "destroy", "--data", "--confirm", STAGE)


def operate(project: Path, command: str, *arguments: str) -> str:
    done = ops(command, *arguments, "--stage", STAGE, at=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_requests_without_token_have_the_listed_verdicts(deployed):
    test_access.check_requests_without_credentials(deployed.stage, "jwt")


def test_callers_with_tokens_have_the_listed_verdicts(deployed):
    """Each caller has separate tokens, because API Gateway caches verdicts."""
    make, now = deployed.issuer.make_token, int(time.time())
    foreign_key = issuers.make_rsa_key()
    headers = {
        "a token of the issuer": make(),
        "a token that expired 5 seconds ago": make(exp=now - 5),
        "an empty header": "",
        "text that is not a token": "Bearer token",
        "a token with another scheme": make().replace("Bearer", "Basic"),
        "a token without a signature": make().rpartition(".")[0] + ".",
        "a token whose `alg` is `none`": deployed.issuer.make_unsigned_token(),
        "a token signed with the public key as a secret": deployed.issuer.sign_with_public_key(),
        "a token that was changed": make()[:-6] + "AAAAAA",
        "a token signed with a foreign key": make(key=foreign_key),
        "a token that names an unknown key": make(key=foreign_key, headers={"kid": "2"}),
        "a token of another issuer": make(iss="https://login.example"),
        "a token for another audience": make(aud="counter-dev"),
        "an expired token": make(exp=now - 60),
        "a token that is not valid yet": make(nbf=now + 36_000),
        "a token without a subject": make(sub=None),
    }
    valid = make(jti="elsewhere").removeprefix("Bearer ")
    callers: dict[str, Caller] = {
        **{name: with_header("Authorization", header) for name, header in headers.items()},
        "no token": test_access.anonymous,
        "a token in the query": lambda _method, url: (f"{url}?access_token={valid}&Authorization=Bearer%20{valid}", {}),
        "a token in another header": with_header("X-Amzn-Remapped-Authorization", f"Bearer {valid}"),
        "a token in a cookie": with_header("Cookie", f"Authorization=Bearer {valid}"),
        "a subject in a header": lambda _method, url: (url, {"principalId": "ann", "X-Amzn-Principal-Id": "ann"}),
        "a signature of an IAM principal": sign_with(test_access.find_root()),
    }

    test_access.check_verdicts(deployed.stage, callers, access_table.BY_CALLER["jwt"])


@pytest.mark.parametrize("first", [*ROUTES][:3], ids=" ".join)
def test_token_opens_every_route_after_any_first_route(deployed, first):
    """API Gateway caches the verdict on the token. A verdict that allows only one route would refuse the others."""
    token = deployed.issuer.make_token(jti=" ".join(first))

    statuses = {route: deployed.send(*route, token).status_code for route in (first, *ROUTES)}

    assert statuses == ROUTES


def test_operators_see_the_caller_and_clients_do_not(deployed):
    token = deployed.issuer.make_token(sub="ann\n<\u00e9>")
    spoofed = {"principalId": "ben", "X-Amzn-Principal-Id": "ben"}
    recorded = deployed.send("POST", "/counters/seen/increments", token, **spoofed).json()
    event = f"/counters/seen/events/{recorded['event_id']}"
    eventually(lambda: deployed.send("GET", event, token).raise_for_status().json()["status"] == "counted")

    shown = json.loads(operate(deployed.stage.project, "show", "seen", "--json"))["events"]
    responses = [deployed.send("GET", path, token) for path in (event, "/counters/seen/events", "/counters/seen")]

    assert [each["who"] for each in shown] == [r"jwt ann\n<\u00e9>"]
    assert not [response for response in responses if "who" in response.text or "ann" in response.text]


def test_retry_with_another_token_is_the_same_increment(deployed):
    key = {"Idempotency-Key": "k"}
    tokens = [deployed.issuer.make_token(sub=subject) for subject in ("ann", "ann", "ben")]

    answers = [deployed.send("POST", "/counters/keyed/increments", token, **key) for token in tokens]

    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.text for answer in answers}) == 1


def test_outage_of_the_issuer_is_a_503_until_its_keys_are_fetched(deployed):
    problem = deployed.outage.json()
    deployed.send("GET", "/counters", deployed.issuer.make_token(jti="before"))
    deployed.issuer.is_down = True
    try:
        later = deployed.send("GET", "/counters", deployed.issuer.make_token(sub="later"))
    finally:
        deployed.issuer.is_down = False

    assert (deployed.outage.status_code, problem["type"]) == (503, "urn:counter:problem:unavailable")
    assert int(deployed.outage.headers["Retry-After"]) > 0
    assert deployed.issuer.address not in deployed.outage.text
    assert later.status_code == 200


def test_openapi_document_names_the_token(deployed):
    document = httpx.get(f"{deployed.stage.url}/openapi.json", timeout=60).json()

    assert document["components"]["securitySchemes"]["jwt"]["scheme"] == "bearer"
    assert document["paths"]["/counters/{counter_id}"]["head"]["security"] == [{"jwt": []}]


def test_authorizer_has_its_name_role_and_log(deployed):
    function = boto3.client("lambda").get_function_configuration(FunctionName=f"counter-{STAGE}-authorize")
    role = function["Role"].rpartition("/")[2]
    iam = boto3.client("iam")
    (group,) = boto3.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/counter-{STAGE}-authorize")[
        "logGroups"
    ]

    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    (statement,) = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]["Statement"]

    assert (function["Handler"], group["retentionInDays"]) == ("app.authorize", 30)
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"].endswith(f":log-group:/aws/lambda/counter-{STAGE}-authorize:*")
