"""Build the files of the site, with their keys, headers and upload order, and find outdated published files."""

import gzip
import hashlib
import html
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urljoin, urlsplit

import rcssmin
import rjsmin

from chalicelib.settings import Settings
from ops.cli.errors import InputError, OperatorError

INDEX = "index.html"
#: The embeddable client, and the name that other sites import. It contains the major version, and is never removed.
EMBED, PUBLISHED_EMBED = "embed.js", "embed-1.js"
#: A service worker controls pages in its folder and below, and is updated under the same name.
WORKER = "service-worker.js"

#: For names whose content may change.
_SHORT = "public, max-age=60"
#: For names that contain a version.
_HOUR = "public, max-age=3600"
#: For names that contain a hash of their content.
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
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_COMPRESSED = {".css", ".html", ".js", ".svg"}

_VERSIONED = re.compile(r"v/([0-9a-f]{16})/")
_REFERENCE = re.compile(r'\b(src|href|content)="([^"]*)"')
#: In a page that calls the API: the placeholders of its configuration and of links to the API.
_CONFIG = '<script type="application/json" id="config">{}</script>'
_API_LINK = 'href="#api"'
#: The addresses that other sites use to preview a link to the page. Most of these sites ignore relative addresses.
_PREVIEW = re.compile(r'(property="og:(?:url|image)" content=")([^"]*)')
_CONNECT_SRC = re.compile(r"connect-src [^;\"]*")
_HOST = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_API = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[^?#\s]*)?|http://(127\.0\.0\.1|localhost)(:\d+)?(/[^?#\s]*)?")


@dataclass(frozen=True, slots=True)
class SiteFile:
    """An object in the bucket: the stored body and the response headers."""

    key: str
    body: bytes
    content_type: str
    cache_control: str
    content_encoding: str = ""

    @property
    def etag(self) -> str:
        """
        The object's ETag in S3: the body's MD5, because it is uploaded in one request and encrypted with S3's own keys.

        See https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html.
        """
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Site:
    """A version of the page, named by a hash of its content, and its files in upload order."""

    version: str
    files: tuple[SiteFile, ...]


def build_site(web: Mapping[str, bytes], page_url: str, api_url: str, max_increment: int) -> Site:
    """
    Build the site for a page at `page_url` that calls the API at `api_url`.

    `web` maps the path of each file below `web/` to its content. `max_increment` is the API's maximum amount. Assets
    come first, in a folder named after a hash of their content, then the files without a hash, `index.html` last.
    """
    origin = parse_origin(api_url)
    # The bundle embed.js replaces its sources. Its type declarations are for projects that have a copy of the bundle.
    web = {name: _minify(name, body) for name, body in web.items() if not name.startswith(("embed/", "embed.d."))}
    embed = [_file(PUBLISHED_EMBED, web[EMBED], _HOUR)] if EMBED in web else []
    pages = sorted((name for name in web if _is_page(name)), key=lambda name: (name == INDEX, name))
    assets = {name: body for name, body in sorted(web.items()) if name not in (*pages, WORKER, EMBED)}
    version = _version(assets)

    def build_page(name: str) -> SiteFile:
        page = _version_references(web[name].decode(), assets, version)
        if _CONFIG in page:
            page = configure(_narrow_connect_src(name, page, origin), page_url, api_url, max_increment)
        return _file(name, page.encode(), _SHORT)

    return Site(
        version,
        (
            *(_file(f"v/{version}/{name}", body, _LONG) for name, body in assets.items()),
            *embed,
            *(_file(name, body, _SHORT) for name, body in web.items() if name == WORKER),
            *map(build_page, pages),
        ),
    )


def configure(page: str, page_url: str, api_url: str, max_increment: int) -> str:
    """Insert the page's address, and the API's address and maximum amount, where the page has placeholders for them."""
    root = api_url.rstrip("/")
    # The browser reads the data block up to "</script", and after "<!--" possibly further.
    config = json.dumps({"api_url": root, "max_increment": max_increment}).replace("<", r"\u003c")
    link = f'href="{html.escape(root)}/"'
    page = page.replace(_CONFIG, _CONFIG.replace("{}", config)).replace(_API_LINK, link)
    return _PREVIEW.sub(lambda preview: preview[1] + html.escape(urljoin(page_url, preview[2])), page)


def parse_origin(api_url: str) -> str:
    """Return the origin of the API's address, which a page that is loaded over HTTPS must be able to call."""
    if not _API.fullmatch(api_url):
        raise InputError(
            "The API's address must have the form https://api.example/path or http://localhost:8000/path, without '?' "
            f"and '#', got {api_url!r}. Browsers block calls to other HTTP addresses from a page loaded over HTTPS."
        )
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def parse_host(allowed_origin: str) -> str:
    """Return the host of this HTTPS origin if a bucket can have its name, else an empty string."""
    scheme, _, host = allowed_origin.partition("://")
    return host if scheme == "https" and _HOST.fullmatch(host) else ""


def parse_bucket_host(settings: Settings) -> str:
    """Return the host that is the name of the site's bucket, or "" if the name is generated, as behind CloudFront."""
    return "" if settings.cdn == "cloudfront" else parse_host(settings.allowed_origin[0])


def find_previous_version(version: str, page_metadata: Mapping[str, str]) -> str:
    """
    Return the version that was live before this one, from the metadata of the published page, or "".

    Publishing the same version again does not change the previous version.
    """
    live = page_metadata.get("version", "")
    return page_metadata.get("previous", "") if live == version else live


def find_outdated(keys: Iterable[str], kept: Collection[str]) -> list[str]:
    """Select the keys of versioned files whose version is not kept."""
    return [key for key in keys if (match := _VERSIONED.match(key)) and match[1] not in kept]


def _is_page(name: str) -> bool:
    """Check whether the file is a page. Visitors open a page by its name, so the name has no hash of the content."""
    return "/" not in name and name.endswith(".html")


def _minify(name: str, body: bytes) -> bytes:
    """Remove comments and needless spaces from scripts and styles. The bundle is already minified."""
    minify = {".css": rcssmin.cssmin, ".js": rjsmin.jsmin}.get(PurePosixPath(name).suffix)
    return minify(body.decode()).encode() if minify and name != EMBED else body


def _file(key: str, body: bytes, cache_control: str) -> SiteFile:
    suffix = PurePosixPath(key).suffix
    compressed = gzip.compress(body, 9, mtime=0) if suffix in _COMPRESSED else body
    if len(compressed) < len(body):
        return SiteFile(key, compressed, _type(key), cache_control, "gzip")
    return SiteFile(key, body, _type(key), cache_control)


def _type(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    if suffix not in _TYPES:
        raise OperatorError(f"web/{name} has an unknown type: add {suffix!r} to ops/deployment/site_files.py.")
    return _TYPES[suffix]


def _version(assets: Mapping[str, bytes]) -> str:
    parts = [f"{name} {_type(name)} {_LONG} {hashlib.sha256(body).hexdigest()}\n" for name, body in assets.items()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _version_references(page: str, assets: Collection[str], version: str) -> str:
    def replace(reference: re.Match[str]) -> str:
        attribute, name = reference.groups()
        return f'{attribute}="v/{version}/{name}"' if name in assets else reference[0]

    return _REFERENCE.sub(replace, page)


def _narrow_connect_src(name: str, page: str, origin: str) -> str:
    narrowed, number = _CONNECT_SRC.subn(f"connect-src 'self' {origin}", page)
    if number != 1:
        raise OperatorError(
            f"The Content-Security-Policy in web/{name} must have exactly one connect-src, which is narrowed to the "
            f"API's origin, got {number}."
        )
    return narrowed
