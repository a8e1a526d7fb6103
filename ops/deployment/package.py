"""Package the application with `chalice package`, and an overlay for settings that Chalice cannot express."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from chalice.utils import to_cfn_resource_name

from chalicelib import cold_start
from chalicelib.extras import openapi
from chalicelib.projections import READ_MODEL, SQL
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import gateway_responses, policies, zip_package

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.projections import Projection
    from chalicelib.settings import Settings

#: A placeholder for the stream's ARN, which the overlay imports.
_STREAM_ARN = "arn:aws:dynamodb:::table/log/stream/imported"

#: The paths whose responses cost more than an increment: they have a lower limit.
_EXPENSIVE_PATHS = (
    "/counters",
    "/counters/{counter_id}/events",
    "/counters/{counter_id}/history",
    "/openapi.json",
    "/reports/{name}",
)
_READ_METHODS = ("GET", "HEAD")

#: The fields of a line of the access log, by API Gateway's names.
_ACCESS_LOG_FIELDS = {
    name: f"$context.{name}"
    for name in ("requestId", "requestTimeEpoch", "httpMethod", "path", "status", "responseLatency", "responseLength")
} | {"ip": "$context.identity.sourceIp", "userAgent": "$context.identity.userAgent"}

#: Passes requests with undeclared methods to the function, which answers 405. Otherwise, the gateway would answer that
#: the path is unknown.
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

#: pip's name for the functions' platform.
_PLATFORM = "manylinux2014_aarch64"

#: The dependencies with compiled code.
_BINARIES = ("psycopg-binary", "cffi", "cryptography")

#: boto3 and its dependencies, in requirements-dev.txt.
_SDK = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")

#: The packages of requirements-sql.txt that each database needs.
_NEEDED_BY = {
    "sqlite": ("sqlalchemy",),
    "postgresql+psycopg": ("sqlalchemy", "psycopg", "psycopg-binary"),
    "auroradsql+psycopg": (
        "sqlalchemy",
        "psycopg",
        "psycopg-binary",
        "psycopg-pool",
        "aurora-dsql-python-connector",
        "aurora-dsql-sqlalchemy",
    ),
}

#: The packages of requirements-jwt.txt, which the authorizer needs.
_TOKENS = ("pyjwt", "cryptography", "cffi")


def overlay(settings: Settings) -> dict[str, Any]:
    """
    Return the settings that Chalice cannot express, for `chalice package --merge-template`.

    The overlay names functions after the stage, filters and limits their event sources, and throttles the API, with
    lower limits for expensive reads. If the settings say so, it reserves concurrency, writes an access log, and limits
    the requests of an address. It also turns the gateway's own errors, such as an unknown path or a body that is too
    large, into problem documents with CORS headers, and passes requests of all methods to the application. The OpenAPI
    document lists the paths.
    """
    name = f"counter-{settings.stage}"
    # Imported, not configured: the stage finds idempotency keys only with the number of shards it was created with.
    shards = {"SHARDS": {"Fn::ImportValue": f"{name}-shards"}}
    queue = READ_MODEL.dead_letter_queue(settings.stage)
    dead_letters = f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{queue}"
    return {
        "Resources": {
            "APIHandler": {"Properties": {"FunctionName": name, "Environment": {"Variables": shards}}},
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
                    # Any value keeps SAM from adding a stage `Stage`, which would not be throttled.
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
        }
    }


def _throttle(path: str, method: str, requests_per_s: int) -> dict[str, Any]:
    return {
        "HttpMethod": method,
        # API Gateway encodes a path's slashes as in a JSON pointer, except for the first one.
        "ResourcePath": "/" + path.replace("/", "~1") if path != "/*" else path,
        "ThrottlingRateLimit": requests_per_s,
        "ThrottlingBurstLimit": requests_per_s,
    }


def _firewall(name: str, requests_per_address: int) -> dict[str, Any]:
    """Return the web ACL that blocks addresses with more requests in five minutes, and its association with the API."""

    def show(metric: str) -> dict[str, Any]:
        # Samples hold addresses of clients.
        return {"CloudWatchMetricsEnabled": True, "MetricName": metric, "SampledRequestsEnabled": False}

    rule = {
        "Name": "requests-per-address",
        "Priority": 0,
        "Statement": {
            "RateBasedStatement": {
                "AggregateKeyType": "IP",
                "EvaluationWindowSec": 300,
                "Limit": requests_per_address,
            }
        },
        "Action": {"Block": {}},
        "VisibilityConfig": show("requests-per-address"),
    }
    stage = "arn:${AWS::Partition}:apigateway:${AWS::Region}::/restapis/${RestAPI}/stages/${RestAPI.Stage}"
    return {
        "Firewall": {
            "Type": "AWS::WAFv2::WebACL",
            "Properties": {
                "Name": name,
                "Scope": "REGIONAL",
                "DefaultAction": {"Allow": {}},
                "Rules": [rule],
                "VisibilityConfig": show(name),
            },
        },
        "FirewallAssociation": {
            "Type": "AWS::WAFv2::WebACLAssociation",
            "Properties": {"ResourceArn": {"Fn::Sub": stage}, "WebACLArn": {"Fn::GetAtt": ["Firewall", "Arn"]}},
        },
    }


def _access_log(name: str) -> dict[str, Any]:
    """Return the setting that writes a line for each request to the log group of the stage's data stack."""
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
        # Half of the stream's retention of a day. In the other half, the operator can read discarded records.
        "MaximumRecordAgeInSeconds": 43_200,
        "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": {"Fn::Sub": dead_letters}}},
    }


def check_sql(settings: Settings) -> None:
    """
    Check that functions can reach the SQL database.

    Raises:
        OperatorError: SQLite is configured on Lambda.
    """
    if settings.sql_url.startswith("sqlite:") and settings.stage != stages.LOCAL_STAGE:
        raise OperatorError(
            "SQL_URL must name a database server on Lambda, got a SQLite file, which only one machine can read."
        )


def package(settings: Settings, folder: Path) -> Path:
    """
    Build the code, `deployment.zip`, and the application's template, `sam.json`. Return their folder, inside `folder`.

    All temporary files are in `folder` as well, so that the next call removes what a killed one left.

    Both are independent of the account: when deployed, the template imports values from the stage's data stack.
    `chalice package` builds them from a clean copy of the files that ship, so other files of the checkout are excluded.
    Reproducible: the same checkout gives the same files.

    Concurrent calls with the same folder wait for each other: one would remove files that another one packages.

    Raises:
        OperatorError: COUNTERS is not set, packaging fails, or SQLite is configured on Lambda.
    """
    stages.check_counters(settings)
    check_sql(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return build(settings, folder)


def build(settings: Settings, folder: Path) -> Path:
    """Build the package as `package` does, without waiting for concurrent calls."""
    source, result, temporary = folder / "source", folder / "result", folder / "tmp"
    for old in (source / "chalicelib", result, temporary):
        shutil.rmtree(old, ignore_errors=True)
    temporary.mkdir(parents=True)
    unshipped = shutil.ignore_patterns("__pycache__", *([] if SQL in settings.projections else ["sql"]))
    shutil.copytree(stages.PROJECT / "chalicelib", source / "chalicelib", ignore=unshipped)
    shutil.copytree(stages.PROJECT / ".chalice", source / ".chalice", ignore=unshipped, dirs_exist_ok=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(stages.PROJECT / name, source)
    _configure(settings, source / ".chalice" / "config.json")
    policies.write(settings, source / ".chalice")
    switches = {projection.setting: "1" for projection in settings.projections if projection.setting}
    addresses = {"SQL_URL": settings.sql_url, "SQL_READER_URL": settings.sql_reader_url}
    names = ("WRITERS", "READERS", "JWT_ISSUER", "JWT_AUDIENCE") if settings.has_authorizer else ()
    access = {name: getattr(settings, name.lower()) for name in names}
    environment = {"STAGE": settings.stage, **switches, **addresses, **access}
    overlay_file = folder / "overlay.json"
    overlay_file.write_text(json.dumps(overlay(settings)), encoding="utf-8")
    command = [
        "package",
        "--stage",
        settings.stage,
        "--merge-template",
        str(overlay_file.resolve()),
        str(result.resolve()),
    ]
    _run(
        [sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())", *command],
        "chalice package",
        source,
        {
            "EVENT_LOG_STREAM_ARN": _STREAM_ARN,
            # Chalice requires a region. Its output is the same for all regions of a partition.
            "AWS_DEFAULT_REGION": boto3.Session().region_name or "us-east-1",
            "TMPDIR": str(temporary.resolve()),
            **environment,
            **pip_variables(source / "requirements.txt", settings),
        },
    )
    functions = cold_start.list_functions(settings.projections, has_authorizer=settings.has_authorizer)
    zip_package.finish(result / "deployment.zip", functions, environment)
    return result


def _configure(settings: Settings, config: Path) -> None:
    """Add the functions of optional projections, and write the SQL read model's addresses with absolute paths."""
    configuration = json.loads(config.read_text(encoding="utf-8"))
    stages.add_functions(configuration, settings)
    variables = configuration["stages"][settings.stage]["environment_variables"]
    addresses = {"SQL_URL": settings.sql_url, "SQL_READER_URL": settings.sql_reader_url}
    if settings.sql_reader_url == settings.sql_url:
        addresses["SQL_READER_URL"] = ""
    for name, address in addresses.items():
        variables.pop(name, None)
        if address:
            variables[name] = address
    config.write_text(json.dumps(configuration, indent=2), encoding="utf-8")


def pip_variables(requirements: Path, settings: Settings) -> dict[str, str]:
    """
    Add the stage's optional packages to the requirements, download the wheels once, and return pip's environment.

    pip checks the hash of each file on download, and every call checks the files again: Chalice fetches wheels for the
    functions' platform without hashes. The folder is named after the requirements, which have the hashes, and this
    machine's Python, so packaging again needs no network.

    Raises:
        OperatorError: a file cannot be downloaded, or its hash differs.
    """
    pins = _pins("requirements-sql.txt", _NEEDED_BY.get(settings.sql_url.partition("://")[0], ()))
    if settings.has_authorizer:
        pins |= _pins("requirements-jwt.txt", _TOKENS)
    if settings.sdk == "package":
        pins |= _pins("requirements-dev.txt", _SDK)
    binary = "\n".join(pins.pop(name) for name in _BINARIES if name in pins)
    shipped = "\n".join([requirements.read_text(encoding="utf-8").rstrip(), *pins.values(), ""])
    names = (shipped, binary, sysconfig.get_platform(), sys.implementation.cache_tag)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    folder = stages.PROJECT / ".local" / f"wheels-{digest[:12]}"
    if not folder.exists():
        _download(shipped, binary, folder)
    _check_hashes(folder, shipped + binary)
    requirements.write_text(shipped + binary, encoding="utf-8")
    # A URL, because pip splits this variable at spaces.
    return {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.resolve().as_uri()}


def _download(pure: str, binary: str, folder: Path) -> None:
    """Download the files of these requirements. Of several concurrent processes, one creates the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=folder.parent) as name:
        downloads, requirements = Path(name, "wheels"), Path(name, "requirements.txt")
        downloads.mkdir()
        for pins, platforms in (
            # SQLAlchemy also has faster, compiled wheels, but each is for one platform.
            (pure, ["any"]),
            # Chalice first looks for a wheel for the machine that runs it.
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


def _check_hashes(folder: Path, requirements: str) -> None:
    for file in folder.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if f"--hash=sha256:{digest}" not in requirements:
            raise OperatorError(f"{file} differs from its hash in the requirements: delete {folder} and try again.")


def _pins(file: str, packages: Iterable[str]) -> dict[str, str]:
    """Return the pins of these packages, with hashes, by name."""
    text = (stages.PROJECT / file).read_text(encoding="utf-8")
    pins = {pin.partition("==")[0]: pin for pin in re.findall(r"^[\w.-]+==.*(?:\n    .*)*", text, re.MULTILINE)}
    return {package: pins[package] for package in packages}


def _run(command: list[str], name: str, folder: Path, environment: dict[str, str]) -> None:
    process = subprocess.run(  # noqa: S603  (our own command line)
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode:
        raise OperatorError(f"{name} failed:\n{process.stdout}{process.stderr}".rstrip())
