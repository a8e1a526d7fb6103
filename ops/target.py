"""Find the target of commands: an AWS account and region, or an embedded AWS."""

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.session import Session

from chalicelib.aws import session as aws_session
from ops import stages
from ops.cli.errors import InputError, OperatorError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

#: The services that commands call.
SERVICES = ("apigateway", "cloudformation", "dynamodb", "lambda", "s3", "sqs", "sts")


def find_embedded_aws() -> str | None:
    """Return the address of the embedded AWS if it receives this process's AWS requests, or None if AWS does."""
    if not _is_redirected():
        return None
    session: Any = boto3.Session()
    region = session.region_name or "us-east-1"  # any region is enough to find an address
    found: dict[str, str] = {service: session.client(service, region).meta.endpoint_url for service in SERVICES}
    embedded = {service: address for service, address in found.items() if _is_embedded(address)}
    if not embedded:
        return None
    if found != dict.fromkeys(SERVICES, embedded[next(iter(embedded))]):
        listed = ", ".join(f"{service} to {address}" for service, address in found.items())
        raise OperatorError(
            f"AWS requests must all go to one place, got {listed}. Set only AWS_ENDPOINT_URL, or no address at all."
        )
    return found["dynamodb"]


def describe() -> str:
    """Describe the target, for operators with several accounts, regions or machines."""
    if address := find_embedded_aws():
        return f"the embedded AWS at {address}"
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"account {account}, {boto3.Session().region_name}"


def connect(stage: str, profile: str | None, region: str | None) -> "DynamoDBClient":
    """
    Return a DynamoDB client for the account and region of another stage.

    Call this function before `stages.enter`, which may change the environment. The client keeps the credentials that it
    found.
    """
    if stage != stages.LOCAL_STAGE:
        session = boto3.Session(
            profile_name=profile,
            region_name=region or boto3.Session().region_name,
            botocore_session=aws_session.create_session(),
        )
        session.get_credentials()
        return session.client("dynamodb")
    if profile or region:
        raise InputError("--from-profile and --from-region do not apply to stage local, which is on the embedded AWS.")
    access = stages.addresses(stages.local_folder())
    session = boto3.Session(
        access["AWS_ACCESS_KEY_ID"],
        access["AWS_SECRET_ACCESS_KEY"],
        region_name=access["AWS_DEFAULT_REGION"],
        botocore_session=aws_session.create_session(),
    )
    return session.client("dynamodb", endpoint_url=access["AWS_ENDPOINT_URL"], config=Config(proxies={}))


def api_url(aws_url: str) -> str:
    """Return the address at which an API responds: `aws_url`, or its counterpart on the embedded AWS."""
    address = find_embedded_aws()
    if not address:
        return aws_url.rstrip("/")
    parts = urlsplit(aws_url)
    # The host begins with an id and the service. The path of a REST API is its stage.
    service_id, service = (parts.hostname or "").split(".")[:2]
    if service == "lambda-url":
        return f"{address}/_aws/lambda-url/{service_id}"
    if stage := parts.path.strip("/"):
        return f"{address}/restapis/{service_id}/{stage}/_user_request_"
    return f"{address}/_aws/execute-api/{service_id}/$default"


def _is_redirected() -> bool:
    """Check whether endpoints are configured. If not, `find_embedded_aws` need not create clients, which is slow."""
    profile = Session().get_scoped_config()
    return not {"endpoint_url", "services"}.isdisjoint(profile) or any(
        name.startswith("AWS_ENDPOINT_URL") for name in os.environ
    )


def _is_embedded(address: str) -> bool:
    """Check whether the address belongs to an embedded AWS. AWS and its private endpoints use HTTPS without a port."""
    parts = urlsplit(address)
    return parts.scheme != "https" or parts.port is not None
