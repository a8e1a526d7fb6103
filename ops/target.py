"""Where a stage is: in which account and region, or on which embedded AWS."""

from __future__ import annotations

import os

import boto3


def place() -> str:
    """What commands act on, in words for whoever has more than one account, region or machine."""
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        return f"the embedded AWS at {endpoint}"
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"account {account}, {boto3.Session().region_name}"


def api_url(api_id: str, on_aws: str) -> str:
    """The address of an API, which is not the one `on_aws` where AWS is embedded."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return f"{endpoint}/restapis/{api_id}/api/_user_request_" if endpoint else on_aws.rstrip("/")
