"""Deploy the application, packaged by `chalice package`, in a separate CloudFormation stack."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from chalicelib.aws import stream_arn
from chalicelib.settings import Settings
from ops import stages, target
from ops.cli.errors import OperatorError
from ops.deployment import cdn, keys, overlay, package, provision, resources, stacks


@dataclass(frozen=True, slots=True)
class Deployed:
    """
    The API's addresses, by CDN and front.

    For a REST API, also its id and its definition: Chalice's definition, merged with the overlay.
    """

    urls: dict[str, str]
    api_id: str
    definition: dict[str, Any]


def stack_name(stage: str) -> str:
    """Return the name of the stack with the stage's application."""
    return f"counter-{stage}-app"


def check_not_deployed_by_chalice(stage: str) -> None:
    """Check that `chalice deploy` did not create the stage's functions: the stack's functions have the same names."""
    if stream_arn.find_stack(boto3.client("lambda"), stage) == "":
        raise OperatorError(
            f"Stage {stage} was deployed by `chalice deploy`: first run `chalice delete --stage {stage}` in the "
            "checkout that deployed it. The data is kept."
        )


def deploy(settings: Settings, work: Path, *, new_secret: bool = False) -> Deployed:
    """
    Deploy this checkout's application to the stage. Safe to repeat. `work` is a folder for build files.

    Then create, update or delete the CDN, and with `new_secret`, replace its secret. Then delete the stacks of
    projections that are off: until then, `publish` may send to their queues.
    """
    stages.check_counters(settings)
    cdn.check(settings)
    package.check_sql(settings)
    check_not_deployed_by_chalice(settings.stage)
    if "rest" not in settings.front and (left := keys.list_resources(settings)):
        raise OperatorError(
            f"Only the REST API checks API keys: remove the keys of stage {settings.stage}, such as {left[0][1]}, or "
            "set FRONT=rest."
        )
    data = stacks.outputs(provision.stack_name(settings.stage))
    provision.check_shards(settings, data)
    resources.check(settings)
    built = package.package(settings, work / f"package-{settings.stage}")
    template = json.loads((built / "sam.json").read_text(encoding="utf-8"))
    code = (built / "deployment.zip").read_bytes()
    location = f"{hashlib.sha256(code).hexdigest()}.zip"
    boto3.client("s3").put_object(Bucket=data["ArtifactsBucket"], Key=location, Body=code)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": data["ArtifactsBucket"], "Key": location}
    if (current_arn := resources.find_stream_arn(settings)) != data["EventLogStreamArn"]:
        sources = template["Resources"]["Publish"]["Properties"]["Events"]
        sources["PublishDynamodbEventSource"]["Properties"]["Stream"] = current_arn
    definition = template["Resources"].get("RestAPI", {}).get("Properties", {})

    def apply(digests: Iterable[str]) -> dict[str, str]:
        if secrets := ",".join([*settings.front_secrets, *digests]):
            template["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]["FRONT_SECRETS"] = secrets
        body, bucket = json.dumps(template, separators=(",", ":")), data["ArtifactsBucket"]
        return stacks.apply(stack_name(settings.stage), body, {}, stage=settings.stage, bucket=bucket)

    outputs = cdn.deploy(settings, apply, data["SiteBucket"], new_secret=new_secret)
    provision.remove_projections(settings)
    return Deployed(list_urls(settings, outputs), outputs.get("RestAPIId", ""), definition)


def list_urls(settings: Settings, outputs: Mapping[str, str]) -> dict[str, str]:
    """
    Return the addresses of the API, by front, in the order of FRONT. The address of a CDN, if any, is first.

    `outputs` are the outputs of the application's stack.
    """
    if missing := [front for front in settings.front if overlay.ADDRESSES[front] not in outputs]:
        raise OperatorError(f"FRONT={missing[0]} of stage {settings.stage} is not deployed yet: run deploy.")
    urls = {front: target.api_url(outputs[overlay.ADDRESSES[front]]) for front in settings.front}
    return urls if settings.cdn == "none" else {settings.cdn: f"{cdn.find_address(settings)}/api", **urls}
