"""Send AWS requests to the embedded AWS or to AWS itself, regardless of the environment."""

import contextlib
import http.server
import os
import re
import shlex
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.session import Session

from ops import stages, target
from ops.cli.errors import OperatorError
from ops.local import stack
from tests.doc_pages import PROJECT

#: An address on which nothing listens.
ELSEWHERE = "http://127.0.0.1:9"

ACCOUNT = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""

REDIRECTIONS = {
    "a proxy": dict.fromkeys(["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"], ELSEWHERE),
    "a proxy, with exceptions": {"http_proxy": ELSEWHERE, "no_proxy": "a.example, b.example"},
    "a missing profile": {"AWS_PROFILE": "missing"},
    "an empty profile": {"AWS_PROFILE": ""},
    "the older name of a profile": {"AWS_DEFAULT_PROFILE": "missing"},
    "an address for one service": {"AWS_ENDPOINT_URL_STS": ELSEWHERE},
    "addresses ignored": {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    "another configuration": {"AWS_CONFIG_FILE": "{folder}/config"},
    "another credentials file": {"AWS_SHARED_CREDENTIALS_FILE": "{folder}/config"},
    "another region": {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-2"},
    "a token": {"AWS_SESSION_TOKEN": "of another account"},
}


@pytest.fixture(autouse=True)
def untouched_environment() -> Iterator[None]:
    """Begin without exceptions from proxies. Afterwards, restore the environment and drop the session that read it."""
    before = {**os.environ}
    for name in ("no_proxy", "NO_PROXY"):  # the tests' own environment has them
        os.environ.pop(name, None)
    boto3.DEFAULT_SESSION = None
    yield
    os.environ.clear()
    os.environ.update(before)
    boto3.DEFAULT_SESSION = None


@contextlib.contextmanager
def a_server() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve the identity of an account to each request. Yield the address and the requests' headers."""
    received: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(dict(self.headers.items()))
            self.send_response(200)
            self.send_header("Content-Length", str(len(ACCOUNT)))
            self.end_headers()
            self.wfile.write(ACCOUNT)

        do_GET = do_POST  # noqa: N815  (the server's name)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


def an_access(address):
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def set_aws_variables(variables):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(variables)


@pytest.mark.sample(3)
@pytest.mark.parametrize("variables", REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_requests_go_to_the_embedded_aws_in_every_environment(tmp_path, variables):
    profile = f"region = eu-west-2\nendpoint_url = {ELSEWHERE}\nignore_configured_endpoint_urls = true\n"
    (tmp_path / "config").write_text(f"[default]\n{profile}aws_access_key_id = other\naws_secret_access_key = other\n")
    os.environ.update({name: value.format(folder=tmp_path) for name, value in variables.items()})

    with a_server() as (address, received):
        stages.use_embedded_aws(an_access(address))

        assert boto3.client("sts").get_caller_identity()["Account"] == "123456789012"
        assert "Credential=local/" in received[0]["Authorization"]
        assert "/us-east-1/" in received[0]["Authorization"]
        assert "X-Amz-Security-Token" not in received[0]
        assert urllib.request.urlopen(address).read() == httpx.get(address).content == ACCOUNT


def test_embedded_aws_is_described_in_every_environment(tmp_path):
    for variables in REDIRECTIONS.values():
        os.environ.update(variables)

    stages.use_embedded_aws(an_access(ELSEWHERE))

    assert target.describe() == f"the embedded AWS at {ELSEWHERE}"


def test_shell_that_reads_the_environment_asks_the_embedded_aws(tmp_path):
    """Addresses of single services stay, but commands refuse them."""
    for reason, variables in REDIRECTIONS.items():
        if reason != "an address for one service":
            os.environ.update({name: value.format(folder=tmp_path) for name, value in variables.items()})
    profile = f"endpoint_url = {ELSEWHERE}\nignore_configured_endpoint_urls = true\nregion = eu-west-2\n"
    (tmp_path / "config").write_text(f"[default]\n{profile}")
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"

    with a_server() as (address, received):
        system = stack.LocalSystem(tmp_path, int(address.rpartition(":")[2]), 1)
        stack.write_environment(system, "", "")
        command = f". {shlex.quote(str(system.environment))} && {shlex.join([sys.executable, '-c', program])}"
        account = subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.PIPE, text=True).stdout

    assert account == "123456789012\n"
    assert f"Credential={stages.addresses(tmp_path)['AWS_ACCESS_KEY_ID']}/" in received[0]["Authorization"]
    assert "/us-east-1/" in received[0]["Authorization"]
    assert "X-Amz-Security-Token" not in received[0]


@pytest.mark.parametrize("text", ["", "\0\xff\n", "AWS_ACCESS_KEY_ID=a\n", "API_URL=a\nAWS_ENDPOINT_URL=\n"])
def test_environment_file_without_an_address_is_refused(tmp_path, monkeypatch, text):
    """Stage local would be in an account whose credentials the SDK finds elsewhere, such as the machine's role."""
    (tmp_path / "env").write_text(text, encoding="latin-1")
    monkeypatch.setenv("LOCAL_FOLDER", str(tmp_path))

    with pytest.raises(OperatorError, match="env has no AWS_ENDPOINT_URL: restart the system with `make down`"):
        stages.enter("local")


def test_embedded_aws_leaves_other_hosts_to_the_proxy(monkeypatch):
    """Packages are downloaded through the proxy."""
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setenv("https_proxy", ELSEWHERE)

    stages.use_embedded_aws(an_access(ELSEWHERE))
    stages.use_embedded_aws(an_access(ELSEWHERE))

    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "127.0.0.1,localhost,intranet.example"
    assert urllib.request.getproxies()["https"] == ELSEWHERE
    assert not urllib.request.proxy_bypass("pypi.org")


def test_proxy_exception_for_all_hosts_stays(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")

    assert stages.bypass_proxies() == {"no_proxy": "*", "NO_PROXY": "*"}


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ENDPOINT_URL_SQS": ELSEWHERE},
        {"AWS_ENDPOINT_URL_STS": ELSEWHERE},
        {"AWS_ENDPOINT_URL": ELSEWHERE, "AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.eu-west-2.amazonaws.com"},
        {"AWS_ENDPOINT_URL": ELSEWHERE, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:10"},
        {"AWS_ENDPOINT_URL_SQS": ELSEWHERE, "AWS_DEFAULT_REGION": ""},
    ],
)
def test_several_targets_are_refused(variables):
    set_aws_variables({"AWS_DEFAULT_REGION": "eu-west-2"} | variables)

    with pytest.raises(OperatorError, match="AWS requests must all go to one place"):
        target.describe()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_ENDPOINT_URL": ELSEWHERE, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        {"AWS_ENDPOINT_URL_S3": "https://bucket.vpce-1.s3.eu-west-2.vpce.amazonaws.com"},
    ],
)
def test_account_and_region_are_described_if_requests_go_there(variables):
    set_aws_variables({"AWS_DEFAULT_REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    os.environ.update(variables)
    response: Any = AWSResponse("", 200, HTTPHeaders(), RawAccount())
    respond: Any = lambda **_request: response  # noqa: E731
    session = Session()
    session.register("before-send.sts", respond)
    boto3.setup_default_session(botocore_session=session)

    assert target.describe() == "account 123456789012, eu-west-2"
    assert target.api_url("https://abc.example/api/") == "https://abc.example/api"


class RawAccount:
    def stream(self) -> Iterator[bytes]:
        yield ACCOUNT


def test_address_in_a_profile_is_described(tmp_path):
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {ELSEWHERE}\n")
    set_aws_variables({"AWS_CONFIG_FILE": str(tmp_path / "config")})

    assert target.describe() == f"the embedded AWS at {ELSEWHERE}"
    on_aws = {
        "https://abc.execute-api.eu-west-1.amazonaws.com/api/": "restapis/abc/api/_user_request_",
        "https://abc.execute-api.eu-west-1.amazonaws.com": "_aws/execute-api/abc/$default",
        "https://abc.lambda-url.eu-west-1.on.aws/": "_aws/lambda-url/abc",
    }
    assert {url: target.api_url(url) for url in on_aws} == {url: f"{ELSEWHERE}/{path}" for url, path in on_aws.items()}


def test_all_services_that_commands_call_are_checked():
    sources = [*(PROJECT / "ops").rglob("*.py"), *(PROJECT / "chalicelib").rglob("*.py")]
    called = {name for file in sources for name in re.findall(r"""client\("(\w+)\"""", file.read_text())}

    assert called == {*target.SERVICES}
