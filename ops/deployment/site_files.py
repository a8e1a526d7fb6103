"""What is published of `web/`: which file under which key, with which headers, in which order, and what is outdated."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.cli.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

INDEX, ERROR, CONFIG = "index.html", "error.html", "config.json"
#: A browser runs a service worker only for pages beside it or below, and asks for it anew by the same name.
WORKER = "worker.js"

#: Of these names there is always one version, the current one.
_SHORT = "public, max-age=60"
#: Another content has another name.
_LONG = "public, max-age=31536000, immutable"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_COMPRESSED = {".css", ".html", ".js", ".svg"}  # not config.json, which is for everyone's curl, too, and is tiny

_VERSIONED = re.compile(r"v/([0-9a-f]{16})/")
_REFERENCE = re.compile(r'\b(src|href)="([^"]*)"')
_CONNECT_SRC = re.compile(r"connect-src [^;\"]*")
_HOST = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_API = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[^?#\s]*)?|http://(127\.0\.0\.1|localhost)(:\d+)?(/[^?#\s]*)?")


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One object of the bucket: the body as it is stored, and the headers that it is served with."""

    key: str
    body: bytes
    content_type: str
    cache_control: str
    content_encoding: str = ""

    @property
    def etag(self) -> str:
        """
        As S3 has it for an object that it encrypts with its own keys and that was put in one request: the body's MD5.

        See https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html.
        """
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Site:
    """A version of the page, named by its content, and its files in the order in which they are to be put."""

    version: str
    files: tuple[SiteFile, ...]


def site_of(web: Mapping[str, bytes], api_url: str) -> Site:
    """
    What is to be in the bucket for these files, by their paths below `web/`, and an API at this address.

    First what nobody refers to yet, below a folder named by its content; then what refers to it, the page last of all.

    Raises:
        InputError: the address cannot be an API's.
        OperatorError: a file is of a type that is not known, or the page does not limit what it connects to.
    """
    origin = origin_of(api_url)
    assets = {name: body for name, body in sorted(web.items()) if name not in (INDEX, ERROR, CONFIG, WORKER)}
    version = _version(assets)
    config = json.dumps({"api_url": api_url.rstrip("/")}).encode()
    page = _narrowed(_pointed(web[INDEX].decode(), assets, version), origin)
    return Site(
        version,
        (
            *(_file(f"v/{version}/{name}", body, _LONG) for name, body in assets.items()),
            _file(ERROR, web[ERROR], _SHORT),
            *(_file(name, body, _SHORT) for name, body in web.items() if name == WORKER),
            _file(CONFIG, config, _SHORT),
            _file(INDEX, page.encode(), _SHORT),
        ),
    )


def origin_of(api_url: str) -> str:
    """
    The origin of the API at this address.

    Raises:
        InputError: a page that was loaded over HTTPS could not ask it, or it is no address.
    """
    if not _API.fullmatch(api_url):
        raise InputError(
            f"The API's address is like https://api.example/path, without ? and #, and not {api_url!r}: "
            "browsers refuse HTTP to a page that came over HTTPS."
        )
    found = urlsplit(api_url)
    return f"{found.scheme}://{found.netloc.lower()}"


def host_of(allowed_origin: str) -> str:
    """The host name of the site whose origin this is, if a bucket can have it for a name; empty if it is none."""
    scheme, _, host = allowed_origin.partition("://")
    return host if scheme == "https" and _HOST.fullmatch(host) else ""


def previous_version(version: str, page_metadata: Mapping[str, str]) -> str:
    """
    The version that was live before this one, from what was noted at the page in the bucket; empty if there was none.

    It is the same after publishing the same version again.
    """
    live = page_metadata.get("version", "")
    return page_metadata.get("previous", "") if live == version else live


def outdated(keys: Iterable[str], kept: Collection[str]) -> list[str]:
    """Those of the keys that are files of versions other than these. No other key is ever among them."""
    found = [(key, _VERSIONED.match(key)) for key in keys]
    return [key for key, versioned in found if versioned and versioned[1] not in kept]


def _file(key: str, body: bytes, cache_control: str) -> SiteFile:
    suffix = PurePosixPath(key).suffix
    compressed = gzip.compress(body, 9, mtime=0) if suffix in _COMPRESSED else body
    if len(compressed) < len(body):
        return SiteFile(key, compressed, _type(key), cache_control, "gzip")
    return SiteFile(key, body, _type(key), cache_control)


def _type(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    if suffix not in _TYPES:
        raise OperatorError(
            f"web/{name} is of a type that is not known: add {suffix!r} to ops/deployment/site_files.py."
        )
    return _TYPES[suffix]


def _version(assets: Mapping[str, bytes]) -> str:
    parts = [f"{name} {_type(name)} {_LONG} {hashlib.sha256(body).hexdigest()}\n" for name, body in assets.items()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _pointed(page: str, assets: Collection[str], version: str) -> str:
    def point(reference: re.Match[str]) -> str:
        attribute, name = reference.groups()
        return f'{attribute}="v/{version}/{name}"' if name in assets else reference[0]

    return _REFERENCE.sub(point, page)


def _narrowed(page: str, origin: str) -> str:
    narrowed, times = _CONNECT_SRC.subn(f"connect-src 'self' {origin}", page)
    if times != 1:
        raise OperatorError(
            f"web/{INDEX} has to have one connect-src in its Content-Security-Policy, to be narrowed to the API; "
            f"it has {times}."
        )
    return narrowed
