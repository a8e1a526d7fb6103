"""The modules that each function loads at a cold start, measured in a separate process."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib import cold_start
from chalicelib.projections import READ_MODEL

PROJECT = Path(__file__).parent.parent.parent

#: The functions of a stage without optional projections.
FUNCTIONS = cold_start.list_functions([READ_MODEL])

#: Packages and our own modules that load slowly or are clients of a service.
HEAVY = {
    "boto3",
    "botocore",
    "pynamodb",
    "chalicelib.aws.tables",
    "chalicelib.aws.sqs",
    "chalicelib.command_handlers",
    "chalicelib.api.payload_v2",
    "chalicelib.publisher",
    "chalicelib.projector",
    "chalicelib.extras.verification.scheduled_check",
    "chalicelib.extras.verification.staging_db",
    "chalicelib.extras.badge",
    "chalicelib.extras.openapi",
    "sqlite3",
    "sqlalchemy",
    "psycopg",
    "chalicelib.extras.sql.read_model",
    "chalicelib.extras.reports.queries",
    "chalicelib.extras.reports.api",
    "chalicelib.extras.reports.definitions",
    "chalicelib.access.tokens",
    "jwt",
    "cryptography",
    "multiprocessing",
    "hypothesis",
    "ops",
}

DATABASE = {"botocore", "pynamodb", "chalicelib.aws.tables"}
QUEUES = {"botocore", "boto3", "multiprocessing", "chalicelib.aws.sqs"}


def run_function(function: str, program: str, **environment: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys, app\n{program}"],
        cwd=PROJECT,
        env={**os.environ, **environment, "_HANDLER": function},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("function", "loaded"),
    [
        ("app.app", {"chalicelib.command_handlers", *DATABASE}),
        ("app.serve", {"chalicelib.api.payload_v2", "chalicelib.command_handlers", *DATABASE}),
        ("app.publish", {"chalicelib.publisher", *QUEUES}),
        ("app.project", {"chalicelib.projector", "chalicelib.aws.sqs", *DATABASE}),
        (
            "app.check",
            {
                "chalicelib.extras.verification.scheduled_check",
                "chalicelib.extras.verification.staging_db",
                "chalicelib.aws.sqs",
                "sqlite3",
                *DATABASE,
            },
        ),
    ],
)
def test_function_loads_only_the_modules_it_uses(function, loaded):
    names = run_function(function, "print(*sys.modules)")

    assert HEAVY & set(names) == loaded


TOKENS = {"WRITERS": "jwt", "JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "counter"}


def test_authorizer_loads_no_aws_client_and_calls_no_issuer():
    """The issuer in this test does not exist. The authorizer calls an issuer only when it verifies a token."""
    names = run_function("app.authorize", "print(*sys.modules)", **TOKENS)

    # `other programs` load botocore as well, because of the errors in `aws.session`.
    assert HEAVY & set(names) == {"chalicelib.access.tokens", "jwt", "cryptography", "botocore"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_functions_do_not_load_the_token_verification(function):
    names = run_function(function, "print(*sys.modules)", **TOKENS)

    assert not {"chalicelib.access.tokens", "jwt", "cryptography"} & set(names)


SQL = {
    "sqlalchemy",
    "botocore",
    "chalicelib.aws.sqs",
    "chalicelib.projector",
    "chalicelib.extras.sql.read_model",
}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("sql_url", "driver"),
    [("sqlite:///file", {"sqlite3"}), ("postgresql+psycopg://counter@host/counter", {"psycopg"})],
)
def test_project_sql_loads_its_driver_and_no_dynamodb_client(sql_url, driver):
    names = run_function("app.project_sql", "print(*sys.modules)", SQL_URL=sql_url)

    assert HEAVY & set(names) == SQL | driver


OF_SQL = {
    "sqlalchemy",
    "psycopg",
    "chalicelib.extras.sql.schema",
    "chalicelib.extras.sql.read_model",
    "chalicelib.extras.reports.queries",
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_functions_load_no_sql_module_if_sql_is_on(function):
    names = run_function(function, "print(*sys.modules)", SQL_URL="sqlite:///file")

    assert not OF_SQL & set(names)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("path", "loaded"),
    [
        ("/", set()),
        ("/openapi.json", set()),
        ("/reports", set()),
        ("/reports/yearly", set()),
        ("/reports/daily", OF_SQL - {"psycopg"}),
    ],
)
def test_api_loads_sql_modules_only_for_a_report(path, loaded):
    program = f"""
from testkit.builders import api_event
name = "{path}".removeprefix("/reports").strip("/")
resource = "/reports/{{name}}" if name and "report" in "{path}" else "{path}"
app.app(api_event("GET", resource, path={{"name": name}}), None)
print("modules:", *sys.modules)
"""

    names = run_function("app.app", program, SQL_URL="sqlite:////no/such/file")

    assert OF_SQL & set(names[names.index("modules:") :]) == loaded


def test_other_programs_load_heavy_modules_lazily():
    names = run_function("", "print(*sys.modules)")

    assert HEAVY & set(names) == {"botocore"}


@pytest.mark.sample(1)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_ready_function_has_exactly_one_client(function):
    program = """
import gc
from botocore.client import BaseClient
print(sum(isinstance(thing, BaseClient) for thing in gc.get_objects()))
"""

    assert run_function(function, program) == ["1"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_second_preparation_creates_no_client(function):
    cold_start.preload(function)
    clients = importlib.import_module(f"chalicelib.{FUNCTIONS[function][-1]}")
    before = clients.client()

    cold_start.preload(function)

    assert clients.client() is before
