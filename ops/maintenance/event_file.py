"""
Files of events: JSON Lines, compressed if the name ends in `.gz`, with a manifest next to the file.

docs/export.md describes both for readers.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from chalicelib import codec
from chalicelib.api.formats import format_time
from chalicelib.errors import NotUnderstoodError
from ops.cli import interrupts
from ops.cli.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.domain.events import Event

#: The name of standard input and output.
STANDARD = "-"

#: The version of the file's format and of its manifest.
FORMAT = 1

#: Longer lines are invalid, so that a file without line breaks takes no memory. The longest event has 7 KB.
_LONGEST_LINE = 64 * 1024

_COMPRESSED = ".gz"

#: The end of the name of a file that is not complete.
_DRAFT = ".draft"


@dataclass(frozen=True, slots=True)
class Problem:
    """A line, counted from 1, that cannot be used, and the reason. Line 0 is the file itself."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line:,}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(slots=True)
class Summary:
    """The number of events by type, the times of the first and last, and the SHA-256 of all lines, uncompressed."""

    types: Counter[str] = field(default_factory=Counter)
    first_ms: int | None = None
    last_ms: int | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, type_name: str, recorded_at_ms: int, line: bytes) -> None:
        """Add an event. Events are added in the order of their times."""
        self.types[type_name] += 1
        self.first_ms = recorded_at_ms if self.first_ms is None else self.first_ms
        self.last_ms = recorded_at_ms
        self.digest.update(line)

    def to_facts(self) -> dict[str, Any]:
        """Return the summary as it is in the manifest."""
        times = [None if ms is None else format_time(ms) for ms in (self.first_ms, self.last_ms)]
        return {
            "events": self.types.total(),
            "types": dict(sorted(self.types.items())),
            "first_recorded_at": times[0],
            "last_recorded_at": times[1],
            "sha256": self.digest.hexdigest(),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts about a file that a reader checks before it uses the file."""

    events: int
    sha256: str


def locate_manifest(file: Path) -> Path:
    """Return the path of the file's manifest."""
    return file.with_name(f"{file.name}.manifest.json")


def resolve_target(name: str) -> Path | None:
    """
    Return the file to write, with links resolved, or None for standard output.

    Raises:
        InputError: a file cannot have this name.
    """
    if name == STANDARD:
        return None
    file = Path(name).resolve()
    if not file.parent.is_dir():
        raise InputError(f"No such folder: {file.parent}.")
    if file.exists() and not file.is_file():
        raise InputError(f"FILE must be a regular file, or - for standard output, got {name}.")
    return file


@contextlib.contextmanager
def open_for_write(file: Path | None) -> Iterator[BinaryIO]:
    """Open the file, or standard output. The same lines give the same bytes, also compressed."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with file.open("wb") as raw:
        if not file.name.removesuffix(_DRAFT).endswith(_COMPRESSED):
            yield raw
            return
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed:
            yield compressed  # type: ignore[misc]  # a GzipFile is a BinaryIO in all that is used


@contextlib.contextmanager
def replace(file: Path) -> Iterator[Path]:
    """
    Provide the name of a draft, which replaces the file at the end of the block. After an exception, remove the draft.

    A file of this name keeps its old content until then. The block also writes the draft of the manifest. A reader
    never meets a file with the manifest of another one.
    """
    draft = file.with_name(f"{file.name}{_DRAFT}")
    manifest = locate_manifest(file)
    try:
        yield draft
        with interrupts.defer():
            manifest.unlink(missing_ok=True)
            draft.replace(file)
            locate_manifest(draft).replace(manifest)
    finally:
        for path in (draft, locate_manifest(draft)):
            path.unlink(missing_ok=True)


def write_manifest(file: Path, stage: str, facts: dict[str, Any]) -> None:
    """Write the manifest of a file of this stage."""
    content = {"format": FORMAT, "stage": stage, **facts}
    locate_manifest(file).write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")


def read_manifest(file: Path) -> Manifest | None:
    """
    Return the file's manifest, or None if there is none.

    Raises:
        OperatorError: the manifest is malformed, or a newer version of this program wrote it.
    """
    path = locate_manifest(file)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"its manifest {path.name} is not JSON") from error
    match content:
        case {"format": int(version)} if version > FORMAT:
            raise OperatorError(f"it has the format {version}, but this version of the program reads up to {FORMAT}")
        case {"format": int(version), "events": int(events), "sha256": str(sha256)} if version == FORMAT:
            return Manifest(events, sha256)
    raise OperatorError(f"its manifest {path.name} must have the members format, events and sha256")


def check_manifest(file: Path, manifest: Manifest) -> None:
    """
    Compare the file's lines with its manifest.

    Raises:
        OperatorError: they differ. The message says how.
    """
    digest, lines, last = hashlib.sha256(), 0, b""
    for chunk in _read_chunks(file):
        digest.update(chunk)
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    if digest.hexdigest() == manifest.sha256:
        return
    lines += last not in (b"", b"\n")
    what = (
        "it was edited or its lines have another order"
        if lines == manifest.events
        else f"it has {lines:,} lines for {manifest.events:,} events"
    )
    raise OperatorError(
        f"it differs from its manifest: {what}. Nothing of it was imported. To import it as it is, remove "
        f"{locate_manifest(file).name}"
    )


def read_events(name: str) -> Iterator[tuple[int, Event] | Problem]:
    """Yield each event with the number of its line, or the problem of a line. A damaged file ends with a problem."""
    for number, line in read_lines(name):
        if isinstance(line, str):
            yield Problem(name, number, line)
            continue
        try:
            yield number, codec.decode_line(line)
        except NotUnderstoodError as error:
            yield Problem(name, number, error.reason)


def read_lines(name: str) -> Iterator[tuple[int, bytes | str]]:
    """
    Yield each line with its number, from 1, without its line break; or, as text, the reason why it cannot be read.

    Raises:
        OSError: the file cannot be opened.
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


def _read_chunks(file: Path) -> Iterator[bytes]:
    with _open_for_read(str(file)) as stream:
        try:
            while chunk := stream.read(_LONGEST_LINE):
                yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return  # the checksum differs


def _open_for_read(name: str) -> Any:
    if name == STANDARD:
        return contextlib.nullcontext(sys.stdin.buffer)
    return gzip.open(name) if name.endswith(_COMPRESSED) else Path(name).open("rb")
