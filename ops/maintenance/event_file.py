"""
Read and write files of events: JSON Lines, compressed if the name ends in `.gz`, with a manifest next to the file.

A file is on this machine, or in S3 as s3://BUCKET/KEY. docs/export.md describes the format of files and manifests.
"""

import contextlib
import errno
import gzip
import hashlib
import json
import operator
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError

from chalicelib import codec
from chalicelib.errors import NotUnderstoodError
from ops.cli import interrupts
from ops.cli.errors import InputError, OperatorError, OutageError
from ops.maintenance.missing_events import Candidate, Problem

#: The name of standard input and output.
STANDARD = "-"

#: The prefix of the name of a file in S3.
_S3 = "s3://"

#: The version of the file's format and of its manifest.
FORMAT = 1

#: Longer lines are invalid, so that a file without line breaks does not fill the memory. The longest event is 7 KB.
_LONGEST_LINE = 64 * 1024

_COMPRESSED = ".gz"

#: The suffix of the name of an incomplete file.
_DRAFT = ".draft"


@dataclass(frozen=True, slots=True)
class Target:
    """
    The file to write. `url` is its address in S3, or None for a local file.

    A file for S3 is first written to a local draft next to `path`, and uploaded when it is complete.
    """

    path: Path
    url: str | None = None

    def __str__(self) -> str:
        return self.url or str(self.path)


def name_manifest(name: str) -> str:
    """Return the name of the manifest for a file with this name."""
    return f"{name}.manifest.json"


def _locate_manifest(file: Path) -> Path:
    return file.with_name(name_manifest(file.name))


def resolve_target(name: str) -> Target | None:
    """Return the file to write, with links resolved, or None for standard output."""
    if name == STANDARD:
        return None
    if name.startswith(_S3):
        bucket, key = _parse_url(name)
        with _translate_missing(InputError(f"No such bucket: {bucket}.")):
            boto3.client("s3").head_bucket(Bucket=bucket)
        return Target(Path(Path(key).name).resolve(), name)
    file = Path(name).resolve()
    if not file.parent.is_dir():
        raise InputError(f"No such folder: {file.parent}.")
    if file.exists() and not file.is_file():
        raise InputError(f"FILE must be a regular file, s3://BUCKET/KEY, or - for standard output, got {name}.")
    return Target(file)


def _parse_url(url: str) -> tuple[str, str]:
    """Return the bucket and key in an S3 URL."""
    bucket, _, key = url.removeprefix(_S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise InputError(f"FILE in S3 must be s3://BUCKET/KEY, got {url}.")
    return bucket, key


@contextlib.contextmanager
def open_for_write(file: Path | None) -> Iterator[BinaryIO]:
    """Open the file, or standard output. The same lines produce the same bytes, even if they are compressed."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with file.open("wb") as raw:
        if not file.name.removesuffix(_DRAFT).endswith(_COMPRESSED):
            yield raw
            return
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed:
            yield compressed  # type: ignore[misc]  # a GzipFile has all methods of a BinaryIO that are used


@contextlib.contextmanager
def replace(target: Target) -> Iterator[Path]:
    """
    Provide the path of a draft, which replaces the file at the end of the block. After an exception, remove the draft.

    Until the end of the block, an existing file keeps its content. The block must also write the manifest of the draft.
    A reader never sees a file with the manifest of another version.
    """
    file = target.path
    draft = file.with_name(f"{file.name}{_DRAFT}")
    try:
        yield draft
        if target.url:
            _upload(draft, target.url)
        else:
            with interrupts.defer():
                _locate_manifest(file).unlink(missing_ok=True)
                draft.replace(file)
                _locate_manifest(draft).replace(_locate_manifest(file))
    finally:
        for path in (draft, _locate_manifest(draft)):
            path.unlink(missing_ok=True)


def _upload(draft: Path, url: str) -> None:
    bucket, key = _parse_url(url)
    client, manifest_key = boto3.client("s3"), name_manifest(key)
    client.delete_object(Bucket=bucket, Key=manifest_key)
    try:
        client.upload_file(str(draft), bucket, key)
        client.upload_file(str(_locate_manifest(draft)), bucket, manifest_key)
    except S3UploadFailedError as error:
        raise OutageError(f"S3 did not accept the file: {error}. Run the command again.") from error


def write_manifest(file: Path, stage: str, facts: dict[str, Any]) -> None:
    """Write the manifest next to a file that contains events of the stage."""
    content = {"format": FORMAT, "stage": stage, **facts}
    _locate_manifest(file).write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")


def check_exists(name: str) -> None:
    """Check that a file with this name exists, or that the name means standard input."""
    if name.startswith(_S3):
        bucket, key = _parse_url(name)
        with _translate_missing(InputError(f"No such file: {name}.")):
            boto3.client("s3").head_object(Bucket=bucket, Key=key)
    elif name != STANDARD and not Path(name).exists():
        raise InputError(f"No such file: {name}.")


@contextlib.contextmanager
def _translate_missing(missing: Exception) -> Iterator[None]:
    """Raise this error if S3 has no such object or bucket. After a HEAD request, the error code is only the status."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
            raise
        raise missing from error


def check_manifest(name: str) -> None:
    """
    Compare the file's lines with its manifest, if it has one.

    Raises:
        OperatorError: the lines differ from the manifest, the manifest is malformed, or a newer version of this program
            wrote it. The message is part of a sentence, without the file's name.
    """
    if (manifest := _read_manifest(name)) is None:
        return
    events, sha256 = manifest
    digest, lines, last = hashlib.sha256(), 0, b""
    for chunk in _read_chunks(name):
        digest.update(chunk)
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    if digest.hexdigest() == sha256:
        return
    lines += last not in (b"", b"\n")
    what = (
        "it was edited, or its lines are in a different order"
        if lines == events
        else f"it has {lines:,} lines for {events:,} events"
    )
    raise OperatorError(
        f"it differs from its manifest: {what}. Nothing was imported from it. To import it as it is, remove "
        f"{_last(name_manifest(name))}"
    )


def _read_manifest(name: str) -> tuple[int, str] | None:
    """Return the number of events and the SHA-256 in the file's manifest, or None if there is no manifest."""
    path = name_manifest(name)
    try:
        with _open_raw(path) as stream:
            content = json.loads(stream.read())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"its manifest {_last(path)} is not JSON") from error
    match content:
        case {"format": int(version)} if version > FORMAT:
            raise OperatorError(f"it has format {version}, but this program reads formats up to {FORMAT}")
        case {"format": int(version), "events": int(events), "sha256": str(sha256)} if version == FORMAT:
            return events, sha256
    raise OperatorError(f"its manifest {_last(path)} must have the members format, events and sha256")


def read_events(name: str) -> Iterator[Candidate | Problem]:
    """Yield an event or a problem for each line. If a compressed file is damaged, yield a problem last."""
    for number, line in read_lines(name):
        if isinstance(line, str):
            yield Problem(name, number, line)
            continue
        try:
            yield Candidate(codec.decode_line(line), name, number, operator.eq)
        except NotUnderstoodError as error:
            yield Problem(name, number, error.reason)


def read_lines(name: str) -> Iterator[tuple[int, bytes | str]]:
    """
    Yield each line with its number, counted from 1.

    Lines are bytes, without line breaks. For a line that cannot be read, yield the reason as text instead.
    """
    number = 0
    with _open_for_read(name) as stream:
        try:
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                if len(line) < _LONGEST_LINE or line.endswith(b"\n"):
                    yield number, line.rstrip(b"\r\n")
                    continue
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_LONGEST_LINE)
                yield number, f"it has more than {_LONGEST_LINE:,} bytes"
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield number + 1, f"the compressed file is damaged or truncated ({error})"


def _last(name: str) -> str:
    """Return the name without its folders."""
    return name.rpartition("/")[2]


def _read_chunks(name: str) -> Iterator[bytes]:
    with _open_for_read(name) as stream:
        try:
            while chunk := stream.read(_LONGEST_LINE):
                yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return  # the checksum differs


@contextlib.contextmanager
def _open_for_read(name: str) -> Iterator[BinaryIO]:
    if name == STANDARD:
        yield sys.stdin.buffer
        return
    with _open_raw(name) as raw:
        if not name.endswith(_COMPRESSED):
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile has all methods of a BinaryIO that are used


@contextlib.contextmanager
def _open_raw(name: str) -> Iterator[BinaryIO]:
    """Open the file as it is stored. A file in S3 is first downloaded to the temporary folder."""
    if not name.startswith(_S3):
        with Path(name).open("rb") as file:
            yield file
        return
    bucket, key = _parse_url(name)
    with tempfile.TemporaryFile() as copy:
        with _translate_missing(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)):
            boto3.client("s3").download_fileobj(bucket, key, copy)
        copy.seek(0)
        yield copy
