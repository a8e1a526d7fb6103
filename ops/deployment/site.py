"""Publish the site: `web/` in its bucket, configured with the API's address."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.settings import Settings
from ops import stages
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.deployment import buckets, cdn, deploy, provision, site_files, stacks
from ops.deployment.site_files import SiteFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef


def publish(settings: Settings, web: Path, api_url: str, *, dry_run: bool) -> Outcome:
    """
    Publish the files to the stage's bucket, as a page that calls this API. Upload only changed files.

    A file is uploaded before files that refer to it, and outdated files are removed last. If the call is interrupted,
    visitors get either the old or the new page, and a repeated call completes the upload. The previous version is kept
    for open and cached pages. Concurrent calls with different files may remove each other's files: if that happens,
    call again.
    """
    data = stacks.outputs(provision.stack_name(settings.stage))
    bucket = _bucket(settings, data)
    url = address(settings, bucket)
    site = site_files.build_site(_read(web), url, api_url, settings.max_increment)
    client = boto3.client("s3")
    published = {file.key: _head(client, bucket, file.key) for file in site.files}
    page = published[site_files.INDEX]
    previous = site_files.find_previous_version(site.version, page["Metadata"] if page else {})
    changed = [file for file in site.files if not _is_same(file, published[file.key])]
    outdated = site_files.find_outdated(_keys(client, bucket), {site.version, previous})
    if not dry_run:
        with progress.bar("Publishing", len(changed), "files") as advance:
            for file in changed:
                _put(client, bucket, file, {"version": site.version, "previous": previous})
                advance(1)
        buckets.remove(bucket, [{"Key": key} for key in outdated])
    facts = {
        "bucket": bucket,
        "url": url,
        "api_url": api_url,
        "version": site.version,
        "published": [file.key for file in changed],
        "unchanged": len(site.files) - len(changed),
        "removed": outdated,
        "dry_run": dry_run,
    }
    return Outcome(facts, _lines(facts, _describe_record(settings, data)))


def find_api_url(settings: Settings) -> str:
    """Return the address of the stage's API: its address behind the CDN, or else at the first front."""
    stage = settings.stage
    if settings.front_secrets and settings.cdn == "none" and settings.front[0] != "rest":
        raise OperatorError(
            "FRONT_SECRETS requires --api: the page must call the CDN, which sends the secret, as in "
            "--api https://counter.example/api."
        )
    if not stacks.exists(deploy.stack_name(stage)):
        raise OperatorError(
            f"The API of stage {stage} is not deployed: run deploy first, or pass its address, as in "
            "--api https://api.example/path."
        )
    return next(iter(deploy.list_urls(settings, stacks.outputs(deploy.stack_name(stage))).values()))


def address(settings: Settings, bucket: str) -> str:
    """Return the page's address: the host of the first ALLOWED_ORIGIN, or else the address of the CDN or the bucket."""
    if settings.cdn == "cloudfront":
        return f"{cdn.find_address(settings)}/"
    if host := site_files.parse_host(settings.allowed_origin[0]):
        return f"https://{host}/"
    # Not the website endpoint: without HTTPS, browsers neither store clicks nor open the page offline.
    style: Literal["path", "virtual"] = "path" if settings.stage == stages.LOCAL_STAGE else "virtual"
    config = Config(signature_version=UNSIGNED, s3={"addressing_style": style})
    client: S3Client = boto3.client("s3", config=config)
    return client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": site_files.INDEX})


def _bucket(settings: Settings, data: Mapping[str, str]) -> str:
    if "SiteBucket" not in data:
        raise OperatorError(f"Stage {settings.stage} has no bucket for the site yet: run provision again.")
    bucket = data["SiteBucket"]
    host = site_files.parse_bucket_host(settings)
    if host and bucket != host:
        raise OperatorError(
            f"The site's bucket must be {host}, as ALLOWED_ORIGIN requires, got {bucket}: run provision again."
        )
    return bucket


def _read(web: Path) -> dict[str, bytes]:
    paths = [path for path in web.rglob("*") if path.is_file()]
    names = {path.relative_to(web): path for path in paths}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _head(client: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef | None":
    try:
        return client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def _is_same(file: SiteFile, head: "HeadObjectOutputTypeDef | None") -> bool:
    if head is None:
        return False
    stored = (head["ETag"], head.get("ContentType"), head.get("CacheControl"), head.get("ContentEncoding", ""))
    return stored == (file.etag, file.content_type, file.cache_control, file.content_encoding)


def _keys(client: "S3Client", bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="v/")
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _put(client: "S3Client", bucket: str, file: SiteFile, versions: Mapping[str, str]) -> None:
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


def _describe_record(settings: Settings, data: Mapping[str, str]) -> str:
    """Describe the DNS record of the page's host. Return an empty string if there is no host."""
    host = site_files.parse_host(settings.allowed_origin[0])
    if host and settings.cdn == "cloudfront":
        return f"DNS: {host} CNAME {cdn.find_domain(settings)} (ALIAS at the top of a zone)"
    return f"DNS: {host} CNAME {data['SiteWebsite']}, proxied by Cloudflare" if host else ""


def _lines(facts: Mapping[str, Any], record: str) -> list[str]:
    published, removed = len(facts["published"]), len(facts["removed"])
    if facts["dry_run"]:
        return [
            f"Would publish {published} files and remove {removed} outdated files.",
            *(f"  publish  {key}" for key in facts["published"]),
            *(f"  remove   {key}" for key in facts["removed"]),
        ]
    summary = (
        f"Published {published} files, removed {removed} outdated files."
        if published or removed
        else f"Nothing to do: {facts['unchanged']} files are up to date."
    )
    return [summary, f"Page: {facts['url']}", f"API: {facts['api_url']}", *([record] if record else [])]
