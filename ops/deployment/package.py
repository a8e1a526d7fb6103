"""Package: the application as AWS takes it, made by `chalice package`, with what Chalice cannot say merged in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib import cold_start
from chalicelib.api.problems import GATEWAY_PROBLEMS, PROBLEM_JSON, gateway_problem
from chalicelib.api.responses import cors
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import archive, policies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.settings import Settings

#: In place of the stream's ARN, which the overlay imports.
_LATER = "arn:aws:dynamodb:::table/log/stream/imported"

#: What pip calls the functions' processor and its system.
_PLATFORM = "manylinux2014_aarch64"

#: The one package with parts that are made for a processor.
_BINARY = "psycopg-binary"

#: The packages of requirements-dev.txt that are boto3 with its dependencies.
_SDK = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")

#: The packages of requirements-sql.txt that each database needs.
_NEEDED_BY = {
    "sqlite": ("sqlalchemy",),
    "postgresql+psycopg": ("sqlalchemy", "psycopg", _BINARY),
    "auroradsql+psycopg": (
        "sqlalchemy",
        "psycopg",
        _BINARY,
        "psycopg-pool",
        "aurora-dsql-python-connector",
        "aurora-dsql-sqlalchemy",
    ),
}


def overlay(settings: Settings) -> dict[str, Any]:
    """
    What the template needs beyond what Chalice writes, in the shape that `chalice package --merge-template` takes.

    Names that follow from the stage; event sources that deliver only what is new, only what failed, and tell where they
    gave up; a limit on what the API takes; and the gateway's own errors in the shape of all others, so that a browser
    may read them: of a path that does not exist, of too large a body, of a function that does not answer.
    """
    name = f"counter-{settings.stage}"
    # What the stage was made with, whatever the configuration says by now: keys are looked up by it.
    shards = {"SHARDS": {"Fn::ImportValue": f"{name}-shards"}}
    dead_letters = f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{settings.dead_letter_queue}"
    return {
        "Resources": {
            "APIHandler": {"Properties": {"FunctionName": name, "Environment": {"Variables": shards}}},
            "Publish": {
                "Properties": {
                    "FunctionName": f"{name}-publish",
                    "Events": {"PublishDynamodbEventSource": {"Properties": _stream_source(name, dead_letters)}},
                }
            },
            "Project": _queue_consumer(name, "Project", "project", shards),
            **({"ProjectSql": _queue_consumer(name, "ProjectSql", "project_sql", {})} if settings.sql_url else {}),
            "Check": {"Properties": {"FunctionName": f"{name}-check", "Environment": {"Variables": shards}}},
            "RestAPI": {
                "Properties": {
                    "Name": name,
                    # An import may name the API by this again, and alarms find it by its name.
                    "DefinitionBody": {"info": {"title": name}},
                    # Any value keeps SAM from adding a stage `Stage`, on which there would be no limit.
                    "OpenApiVersion": "2.0",
                    "TracingEnabled": policies.is_traced(settings.stage, stages.PROJECT / ".chalice"),
                    "MethodSettings": [
                        {
                            "HttpMethod": "*",
                            "ResourcePath": "/*",
                            "ThrottlingRateLimit": settings.requests_per_s,
                            "ThrottlingBurstLimit": settings.requests_per_s,
                        }
                    ],
                    "GatewayResponses": _gateway_responses(settings.allowed_origin),
                }
            },
        }
    }


def _queue_consumer(name: str, resource: str, function: str, variables: dict[str, Any]) -> dict[str, Any]:
    return {
        "Properties": {
            "FunctionName": f"{name}-{function}",
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
        # The stream forgets after a day, and says nothing. Half of that is left for whoever reads what was given up.
        "MaximumRecordAgeInSeconds": 43_200,
        "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": {"Fn::Sub": dead_letters}}},
    }


def _gateway_responses(allowed_origin: str) -> dict[str, Any]:
    readable = {name: f"'{value}'" for name, value in cors(allowed_origin).get_access_control_headers().items()}
    return {
        kind: {
            **({"StatusCode": status} if status else {}),
            "ResponseParameters": {
                "Headers": {
                    **readable,
                    "Content-Type": f"'{PROBLEM_JSON}'",
                    **({"Retry-After": "'1'"} if status in (429, 503) else {}),
                }
            },
            "ResponseTemplates": {"application/json": json.dumps(gateway_problem(status, name, title))},
        }
        for kind, (status, name, title) in GATEWAY_PROBLEMS.items()
    }


def check_sql(settings: Settings) -> None:
    """
    Where SQL is on, the database is one that functions can reach, and the function that writes to it has a policy.

    Raises:
        OperatorError: SQLite is asked for on Lambda, or the configuration has no policy for `project_sql`.
    """
    if settings.sql_url.startswith("sqlite:") and settings.stage != stages.LOCAL_STAGE:
        raise OperatorError("SQLite is a file on one machine, and functions run on many: SQL_URL must name a server.")
    # Chalice would look for a policy of another name, and fail.
    if settings.sql_url and "iam_policy_file" not in stages.functions_of(settings.stage).get("project_sql", {}):
        policy = json.dumps({"iam_policy_file": f"policies/{settings.stage}/project_sql.json"})
        raise OperatorError(
            f"Stage {settings.stage} has SQL_URL and lacks the function that writes there: add "
            f'"project_sql": {policy} to its lambda_functions in .chalice/config.json.'
        )


def package(settings: Settings, folder: Path) -> Path:
    """
    A folder with `deployment.zip`, the code, and `sam.json`, the template of the stage's application.

    They hold nothing of an account: what the template needs of the stage's data, it imports from the stage's other
    stack when it is applied. `chalice package` makes them, of a clean copy of what ships, so that nothing else of the
    checkout gets in. The same each time.

    Raises:
        OperatorError: packaging fails; SQLite is asked for on Lambda; or the configuration has no policy for
            `project_sql`.
    """
    check_sql(settings)
    source, result = folder / "source", folder / "result"
    shutil.rmtree(source / "chalicelib", ignore_errors=True)
    shutil.rmtree(result, ignore_errors=True)
    unshipped = shutil.ignore_patterns("__pycache__", *([] if settings.sql_url else ["sql"]))
    shutil.copytree(stages.PROJECT / "chalicelib", source / "chalicelib", ignore=unshipped)
    shutil.copytree(stages.PROJECT / ".chalice", source / ".chalice", ignore=unshipped, dirs_exist_ok=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(stages.PROJECT / name, source)
    _configure(settings, source / ".chalice" / "config.json")
    policies.write(settings, source / ".chalice")
    environment = {"STAGE": settings.stage, "SQL_URL": settings.sql_url, "SQL_READER_URL": settings.sql_reader_url}
    merged = folder / "overlay.json"
    merged.write_text(json.dumps(overlay(settings)), encoding="utf-8")
    command = ["package", "--stage", settings.stage, "--merge-template", str(merged.resolve()), str(result.resolve())]
    _run(
        [sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())", *command],
        "chalice package",
        source,
        {
            "EVENT_LOG_STREAM_ARN": _LATER,
            # Chalice insists on one. What it writes is the same for all regions of a partition.
            "AWS_DEFAULT_REGION": boto3.Session().region_name or "us-east-1",
            **environment,
            **pip_variables(source / "requirements.txt", settings),
        },
    )
    functions = cold_start.FUNCTIONS | (cold_start.WITH_SQL if settings.sql_url else {})
    archive.finish(result / "deployment.zip", functions, environment)
    return result


def _configure(settings: Settings, config: Path) -> None:
    """The functions are told the addresses of the relational read model as they are from here, a file's in full."""
    found = json.loads(config.read_text(encoding="utf-8"))
    variables = found["stages"][settings.stage]["environment_variables"]
    addresses = {"SQL_URL": settings.sql_url, "SQL_READER_URL": settings.sql_reader_url}
    if settings.sql_reader_url == settings.sql_url:
        addresses["SQL_READER_URL"] = ""
    for name, address in addresses.items():
        variables.pop(name, None)
        if address:
            variables[name] = address
    config.write_text(json.dumps(found, indent=2), encoding="utf-8")


def pip_variables(requirements: Path, settings: Settings) -> dict[str, str]:
    """
    Add to the requirements what the stage ships as well, download all of it once, and return pip's variables for it.

    pip checks the hash of each file, when it downloads the file and when Chalice packs it. The folder of the downloads
    is named by the requirements, so that packaging again needs no network.

    Raises:
        OperatorError: a file cannot be downloaded, or its hash differs.
    """
    pins = _pins("requirements-sql.txt", _NEEDED_BY.get(settings.sql_url.partition("://")[0], ()))
    if settings.sdk == "package":
        pins |= _pins("requirements-dev.txt", _SDK)
    binary = pins.pop(_BINARY, "")
    shipped = "\n".join([requirements.read_text(encoding="utf-8").rstrip(), *pins.values(), ""])
    digest = hashlib.sha256((shipped + binary).encode()).hexdigest()
    folder = stages.PROJECT / ".local" / f"wheels-{digest[:12]}"
    if not folder.exists():
        _download(shipped, binary, folder)
    requirements.write_text(shipped + binary, encoding="utf-8")
    # A URL, because pip splits this variable at blanks.
    return {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.resolve().as_uri()}


def _download(pure: str, binary: str, folder: Path) -> None:
    """Download the files of these requirements into the folder. Of several processes at once, one makes the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=folder.parent) as name:
        downloads, requirements = Path(name, "wheels"), Path(name, "requirements.txt")
        downloads.mkdir()
        for pins, platforms in (
            # SQLAlchemy also has faster, compiled wheels, each for one processor.
            (pure, ["any"]),
            # Chalice first looks for the wheel of the machine that packages.
            (binary, [None, _PLATFORM]),
        ):
            requirements.write_text(pins, encoding="utf-8")
            for platform in platforms if pins else []:
                options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-d", str(downloads)]
                options += ["--platform", platform] if platform else []
                command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "-r", str(requirements)]
                _run(command, "pip download", stages.PROJECT, {})
        try:
            downloads.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _pins(file: str, packages: Iterable[str]) -> dict[str, str]:
    """Return the pin of each of these packages, with its hashes, by name."""
    text = (stages.PROJECT / file).read_text(encoding="utf-8")
    pins = {pin.partition("==")[0]: pin for pin in re.findall(r"^[\w.-]+==.*(?:\n    .*)*", text, re.MULTILINE)}
    return {package: pins[package] for package in packages}


def _run(command: list[str], name: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  (our own command line)
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OperatorError(f"{name} failed:\n{done.stdout}{done.stderr}".rstrip())
