"""The site: `web/` in its bucket, and the API's address with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from ops import stages, target
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.deployment import deploy, provision, site_files, stacks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectIdentifierTypeDef

    from chalicelib.settings import Settings
    from ops.deployment.site_files import SiteFile

_AT_ONCE = 1000


def publish(settings: Settings, web: Path, api_url: str, *, dry_run: bool) -> Outcome:
    """
    The stage's bucket serves these files as a page that asks this API. Nothing is sent that is there already.

    What refers to a file is put after it, and what is outdated is removed last: cut off anywhere, the page is the old
    one or the new one, whole, and the same call finishes it. The version before stays, for pages that are open or
    cached. Nothing is removed but files of versions before that. Of two calls at once with different files, one may
    remove what the other put: call again.

    Raises:
        OperatorError: the stage is not provisioned, or a file or the address cannot be published.
    """
    data = stacks.outputs(provision.stack_name(settings.stage))
    bucket = _bucket(settings, data)
    site = site_files.site_of(_read(web), api_url)
    client = boto3.client("s3")
    standing = {file.key: _head(client, bucket, file.key) for file in site.files}
    page = standing[site_files.INDEX]
    previous = site_files.previous_version(site.version, page["Metadata"] if page else {})
    changed = [file for file in site.files if not _is_same(file, standing[file.key])]
    old = site_files.outdated(_keys(client, bucket), {site.version, previous})
    if not dry_run:
        with progress.bar("Publishing", len(changed), "files") as advance:
            for file in changed:
                _put(client, bucket, file, {"version": site.version, "previous": previous})
                advance(1)
        _remove(client, bucket, [{"Key": key} for key in old])
    facts = {
        "bucket": bucket,
        "url": address(settings, bucket),
        "api_url": api_url,
        "version": site.version,
        "published": [file.key for file in changed],
        "unchanged": len(site.files) - len(changed),
        "removed": old,
        "dry_run": dry_run,
    }
    return Outcome(facts, _lines(facts, site_files.host_of(settings.allowed_origin), data["SiteWebsite"]))


def api_url_of(stage: str) -> str:
    """
    The address of the stage's API.

    Raises:
        OperatorError: it is not deployed, or the embedded AWS does not run.
    """
    if not stacks.exists(deploy.stack_name(stage)):
        raise OperatorError(
            f"The API of stage {stage} has no address yet: run deploy first, or give one, as in "
            "--api https://api.example/path."
        )
    application = stacks.outputs(deploy.stack_name(stage))
    return target.api_url(application["RestAPIId"], application["EndpointURL"])


def address(settings: Settings, bucket: str) -> str:
    """Where the page is: at the host that ALLOWED_ORIGIN names, or else in the bucket itself."""
    if host := site_files.host_of(settings.allowed_origin):
        return f"https://{host}/"
    # Not at the website endpoint, which speaks HTTP only: there, browsers withhold from a page what it draws keys with.
    style: Literal["path", "virtual"] = "path" if settings.stage == stages.LOCAL_STAGE else "virtual"
    config = Config(signature_version=UNSIGNED, s3={"addressing_style": style})
    client: S3Client = boto3.client("s3", config=config)
    return client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": site_files.INDEX})


def empty(bucket: str) -> int:
    """
    No object is in the bucket, nor any older version of one, or there is no such bucket. Returns how many were.

    Raises:
        OperatorError: some could not be removed.
    """
    client = boto3.client("s3")
    removed = 0
    with contextlib.suppress(client.exceptions.NoSuchBucket):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            _remove(client, bucket, [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found])
            removed += len(found)
    return removed


def _bucket(settings: Settings, data: Mapping[str, str]) -> str:
    if "SiteBucket" not in data:
        raise OperatorError(f"Stage {settings.stage} was provisioned before it had a site: run provision again.")
    bucket = data["SiteBucket"]
    host = site_files.host_of(settings.allowed_origin)
    if host and bucket != host:
        raise OperatorError(f"The site's bucket is {bucket}, and ALLOWED_ORIGIN asks for {host}: run provision again.")
    return bucket


def _read(web: Path) -> dict[str, bytes]:
    paths = [path for path in web.rglob("*") if path.is_file()]
    names = {path.relative_to(web): path for path in paths}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _head(client: S3Client, bucket: str, key: str) -> HeadObjectOutputTypeDef | None:
    try:
        return client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def _is_same(file: SiteFile, standing: HeadObjectOutputTypeDef | None) -> bool:
    return standing is not None and (
        file.etag,
        file.content_type,
        file.cache_control,
        file.content_encoding,
    ) == (
        standing["ETag"],
        standing.get("ContentType"),
        standing.get("CacheControl"),
        standing.get("ContentEncoding", ""),
    )


def _keys(client: S3Client, bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="v/")
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def _put(client: S3Client, bucket: str, file: SiteFile, versions: Mapping[str, str]) -> None:
    encoding: Any = {"ContentEncoding": file.content_encoding} if file.content_encoding else {}
    client.put_object(
        Bucket=bucket,
        Key=file.key,
        Body=file.body,
        ContentType=file.content_type,
        CacheControl=file.cache_control,
        Metadata=versions if file.key == site_files.INDEX else {},
        **encoding,
    )


def _remove(client: S3Client, bucket: str, objects: Sequence[ObjectIdentifierTypeDef]) -> None:
    for start in range(0, len(objects), _AT_ONCE):
        some = objects[start : start + _AT_ONCE]
        refused = client.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True}).get("Errors", [])
        if refused:
            raise OperatorError(
                f"{len(refused)} files could not be removed from {bucket}, such as {refused[0].get('Key')}: "
                f"{refused[0].get('Message')}. Run it again."
            )


def _lines(facts: Mapping[str, Any], host: str, website: str) -> list[str]:
    published, removed = len(facts["published"]), len(facts["removed"])
    if facts["dry_run"]:
        first = f"{published} files would be published, {removed} outdated ones removed."
        details = [
            *(f"  put     {key}" for key in facts["published"]),
            *(f"  remove  {key}" for key in facts["removed"]),
        ]
        return [first, *details]
    first = (
        f"{published} files were published, {removed} outdated ones removed."
        if published or removed
        else f"Nothing to do: {facts['unchanged']} files are there as they should be."
    )
    record = [f"DNS: {host} CNAME {website}, proxied by Cloudflare"] if host else []
    return [first, f"Page: {facts['url']}", f"API: {facts['api_url']}", *record]
