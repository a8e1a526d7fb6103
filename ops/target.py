"""The target of commands: an AWS account and region, or an embedded AWS."""

from __future__ import annotations

import os

import boto3


def describe() -> str:
    """Describe the target, for operators with several accounts, regions or machines."""
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        return f"the embedded AWS at {endpoint}"
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"account {account}, {boto3.Session().region_name}"


def api_url(api_id: str, aws_url: str) -> str:
    """Return the address of an API: `aws_url`, unless AWS is embedded."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return f"{endpoint}/restapis/{api_id}/api/_user_request_" if endpoint else aws_url.rstrip("/")
