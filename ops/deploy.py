"""Deploy: the application as `chalice package` makes it, as a stack of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib.http import cors
from ops import provision, stacks, stages
from ops.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

    from chalicelib.settings import Settings


@dataclass(frozen=True, slots=True)
class Deployed:
    """The API's identity, its address on AWS, and its definition: what Chalice wrote, with the overlay."""

    api_id: str
    url: str
    definition: dict[str, Any]


def stack_name(stage: str) -> str:
    """The stack that holds the stage's application."""
    return f"counter-{stage}-app"


def deploy(settings: Settings, work: Path) -> Deployed:
    """
    The application of this checkout serves the stage. Safe to repeat; `work` is a folder for what is built on the way.

    Raises:
        OperatorError: the stage is not provisioned, or with other shards; packaging fails; or CloudFormation refuses.
    """
    data = stacks.outputs(provision.stack_name(settings.stage))
    provision.check_shards(settings, data)
    package = _package(settings, work / f"package-{settings.stage}", data["EventLogStreamArn"])
    template = json.loads((package / "sam.json").read_text(encoding="utf-8"))
    code = (package / "deployment.zip").read_bytes()
    location = f"{hashlib.sha256(code).hexdigest()}.zip"
    boto3.client("s3").put_object(Bucket=data["ArtifactsBucket"], Key=location, Body=code)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": data["ArtifactsBucket"], "Key": location}
    made = stacks.apply(stack_name(settings.stage), json.dumps(template), {})
    definition = template["Resources"]["RestAPI"]["Properties"]
    return Deployed(made["RestAPIId"], made["EndpointURL"].rstrip("/"), definition)


def overlay(settings: Settings) -> dict[str, Any]:
    """
    What the template needs beyond what Chalice writes: the gateway's own errors in the shape of all others.

    A path or method that does not exist, a body that is too large for the gateway, a function that does not answer: a
    browser may read these, too.
    """
    return {"Resources": {"RestAPI": {"Properties": {"GatewayResponses": _gateway_responses(settings.allowed_origin)}}}}


def _gateway_responses(allowed_origin: str) -> dict[str, Any]:
    problems = {
        "MISSING_AUTHENTICATION_TOKEN": (404, "not-found", "There is no such path, or it has no such method"),
        "REQUEST_TOO_LARGE": (413, "body-too-large", "The body is too large"),
        "THROTTLED": (429, "throttled", "Too many requests"),
        "INTEGRATION_TIMEOUT": (503, "unavailable", "The service did not answer in time"),
        "INTEGRATION_FAILURE": (503, "unavailable", "The service is out of reach"),
        "DEFAULT_4XX": (None, "gateway-error", "The gateway refused the request"),
        "DEFAULT_5XX": (None, "gateway-error", "The gateway failed"),
    }
    readable = {name: f"'{value}'" for name, value in cors(allowed_origin).get_access_control_headers().items()}
    return {
        kind: {
            **({"StatusCode": status} if status else {}),
            "ResponseParameters": {
                "Headers": {
                    **readable,
                    "Content-Type": "'application/problem+json'",
                    **({"Retry-After": "'1'"} if status in (429, 503) else {}),
                }
            },
            "ResponseTemplates": {
                "application/json": json.dumps(
                    {
                        "type": f"urn:counter:problem:{name}",
                        "title": title,
                        **({"status": status} if status else {}),
                        "detail": f"{title}. GET / lists what there is.",
                    }
                )
            },
        }
        for kind, (status, name, title) in problems.items()
    }


def _package(settings: Settings, folder: Path, stream_arn: str) -> Path:
    """`chalice package` run on a clean copy of what ships, so that nothing else of the checkout gets into it."""
    source, result = folder / "source", folder / "result"
    shutil.rmtree(source / "chalicelib", ignore_errors=True)
    shutil.rmtree(result, ignore_errors=True)
    unshipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(stages.PROJECT / "chalicelib", source / "chalicelib", ignore=unshipped)
    shutil.copytree(stages.PROJECT / ".chalice", source / ".chalice", ignore=unshipped, dirs_exist_ok=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(stages.PROJECT / name, source)
    for policy in (source / ".chalice").glob("policy-*.json"):
        policy.write_text(policy.read_text(encoding="utf-8").replace("counter-*-", f"counter-{settings.stage}-"))
    merged = folder / "overlay.json"
    merged.write_text(json.dumps(overlay(settings)), encoding="utf-8")
    wheels = _wheels(stages.PROJECT / ".local" / "wheels")
    command = ["package", "--stage", settings.stage, "--merge-template", str(merged.resolve()), str(result.resolve())]
    _run(
        [sys.executable, "-c", "from chalice.cli import main; main()", *command],
        "chalice package",
        source,
        # The runtime has botocore, all that our one requirement requires: the package is small without it.
        {"EVENT_LOG_STREAM_ARN": stream_arn, "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
    )
    return result


def _wheels(folder: Path) -> Path:
    """What requirements.txt names, downloaded once, so that deploying again needs no network."""
    wanted = (stages.PROJECT / "requirements.txt").read_bytes()
    mark = folder / "requirements.txt"
    if not mark.exists() or mark.read_bytes() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        download = [
            "download",
            "--quiet",
            "--no-deps",
            "-r",
            str(stages.PROJECT / "requirements.txt"),
            "-d",
            str(folder),
        ]
        _run([sys.executable, "-m", "pip", *download], "pip download", stages.PROJECT, {})
        mark.write_bytes(wanted)
    return folder.resolve()


def _run(command: list[str], name: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  (our own command line)
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OperatorError(f"{name} failed:\n{done.stdout}{done.stderr}".rstrip())
