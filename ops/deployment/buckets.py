"""Empty and delete buckets."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from chalicelib.extras.chunks import split_into_chunks
from ops.cli.errors import OperatorError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

#: The maximum number of keys that S3 deletes in one request.
_MAX_DELETES = 1000


def exists(bucket: str) -> bool:
    """Check whether the bucket exists and these credentials have access to it."""
    try:
        boto3.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
            return False
        raise
    return True


def empty(bucket: str) -> int:
    """Delete all versions of all objects in the bucket, and return their number. The bucket need not exist."""
    client = boto3.client("s3")
    removed = 0
    with contextlib.suppress(client.exceptions.NoSuchBucket):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            remove(bucket, [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in versions])
            removed += len(versions)
    return removed


def remove(bucket: str, objects: "Iterable[ObjectIdentifierTypeDef]") -> None:
    """Delete these objects, or versions of objects."""
    for chunk in split_into_chunks(objects, _MAX_DELETES):
        answer = boto3.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": chunk, "Quiet": True})
        if errors := answer.get("Errors", []):
            raise OperatorError(
                f"{len(errors)} files could not be deleted from {bucket}, such as {errors[0].get('Key')}: "
                f"{errors[0].get('Message')}. Run the command again."
            )


def delete(bucket: str, refusal: str) -> None:
    """Delete the empty bucket, if it exists. If S3 refuses, the error's message is `refusal`, then S3's message."""
    client = boto3.client("s3")
    try:
        client.delete_bucket(Bucket=bucket)
    except client.exceptions.NoSuchBucket:
        return
    except ClientError as error:
        raise OperatorError(f"{refusal} ({error})") from error
