"""Read the settings from the environment, once. docs/configuration.md lists all variables with units and defaults."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from chalicelib.domain.events import LARGEST_AMOUNT, MAX_PARTS
from chalicelib.errors import SettingsError
from chalicelib.projections import PROJECTIONS, SQL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.projections import Projection

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

#: The source of the functions' boto3 and botocore: Lambda's runtime, or the deployment package.
SDKS = ("runtime", "package")

#: The callers that WRITERS and READERS may allow.
CALLERS = ("anyone", "api-key", "iam", "jwt")

#: The fronts that FRONT may name: the API Gateway REST API, an API Gateway HTTP API, and the URL of the API's function.
FRONTS = ("rest", "http", "url")

#: The CDNs that `deploy` can put in front of the page and the API.
CDNS = ("none", "cloudfront")

#: The settings that require a REST API.
_REST_SETTINGS = ("WAF", "ACCESS_LOG", "EXPENSIVE_READS_PER_S")

#: The interval of the scheduled check, in seconds.
CHECK_EVERY_S = 3600

_USER = r"(?:[^@:/?]*@)?"
_PATH_AND_QUERY = r"(?:/[^?]*)?(?:\?(?!.*password=).*)?"

#: The valid forms of a database's address. It must not contain a password, or an encoded NUL, which makes drivers fail.
_SQL_URL = re.compile(
    r"(?!.*%00)(?:sqlite:///[^?]+"
    rf"|postgresql\+psycopg://{_USER}(?:\[[^]/?]+\]|[^][:@/?]*)(?::[0-9]{{1,5}})?{_PATH_AND_QUERY}"
    rf"|auroradsql\+psycopg://{_USER}[a-z0-9]+\.dsql[a-z0-9-]*\.[a-z0-9-]+\.on\.aws{_PATH_AND_QUERY})"
)

#: An origin as browsers send it (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")

#: A counter's name, or a pattern in which `*` matches any text.
_COUNTER_PATTERN = re.compile(r"[A-Za-z0-9._~*-]{1,64}")
COUNTER_PATTERN = "1 to 64 characters of A-Z a-z 0-9 . _ ~ - and * (any text)"

#: The maximum length of COUNTERS. AWS refuses a function whose environment variables exceed 4 KB in total.
_COUNTERS_LENGTH = 3000

#: The only stage in which all counters exist by default.
LOCAL_STAGE = "local"

#: The issuer of tokens. Over plain HTTP, an attacker on the network could replace its keys.
_ISSUER = re.compile(r"https://[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_LOCAL_ISSUER = re.compile(_ISSUER.pattern.replace("https://[a-z0-9.-]+", r"http://(?:127\.0\.0\.1|localhost)"))

_STAGE = re.compile(r"[a-z][a-z0-9-]{0,19}")

#: Suffixes that a stage's name must not have. A stage `x-publish` would collide with the function `publish` of stage
#: `x`, and a stage `x-sql` with the SQL projection's queue of stage `x`.
_RESERVED_SUFFIXES = (
    "-publish",
    "-project",
    "-check",
    "-authorize",
    *(f"-{optional.name}" for optional in PROJECTIONS[1:]),
)

#: The variables that switch a projection on if they are 1. A database's address in SQL_URL switches SQL on.
_SWITCHES = tuple(projection.setting for projection in PROJECTIONS[1:] if projection is not SQL)


def _setting(parse: Callable[[str, Mapping[str, str]], object]) -> Any:
    """Declare a setting. `parse` receives the name of the setting's variable, and the environment."""
    return field(metadata={"parse": parse})


def _text() -> Any:
    return _setting(lambda name, environment: environment.get(name, ""))


def _integer(default: int | None, lowest: int, highest: int) -> Any:
    """Declare an integer within inclusive bounds."""

    def parse(name: str, environment: Mapping[str, str]) -> int | None:
        return _parse_integer(name, environment[name], lowest, highest) if name in environment else default

    return _setting(parse)


def _one_of(allowed: tuple[str, ...], default: str) -> Any:
    def parse(name: str, environment: Mapping[str, str]) -> str:
        text = environment.get(name, default)
        if text not in allowed:
            raise SettingsError(f"{name} must be one of {', '.join(allowed)}, got {text!r}")
        return text

    return _setting(parse)


def _parse_integer(name: str, text: str, lowest: int, highest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", text) or not lowest <= int(text) <= highest:
        raise SettingsError(f"{name} must be an integer from {lowest} to {highest}, got {text!r}")
    return int(text)


def _parse_stage(name: str, environment: Mapping[str, str]) -> str:
    stage = environment.get(name, "")
    if not _STAGE.fullmatch(stage):
        raise SettingsError(
            f"{name} must be 1 to 20 lower-case letters, digits or hyphens, starting with a letter, such as local, dev "
            f"or prod, got {stage!r}"
        )
    if stage.endswith(_RESERVED_SUFFIXES):
        raise SettingsError(f"{name} must not end in {', '.join(_RESERVED_SUFFIXES)}, got {stage!r}")
    return stage


def _parse_origins(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the allowed origins as browsers send them: in lower case, without a trailing slash or a default port."""
    text = environment.get(name, "*")
    origins = tuple(dict.fromkeys(_normalize_origin(part) for part in text.split(",")))
    if origins != ("*",) and not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise SettingsError(
            f"{name} must be * or origins separated by commas, such as "
            f"https://counter.example,http://localhost:8080, got {text!r}"
        )
    return origins


def _normalize_origin(text: str) -> str:
    origin = text.lower().removesuffix("/")
    return origin.removesuffix({"https": ":443", "http": ":80"}.get(origin.partition("://")[0], ""))


def is_counter_pattern(text: str) -> bool:
    """Check whether the text is a counter's name, or a pattern in which `*` matches any text."""
    return _COUNTER_PATTERN.fullmatch(text) is not None


def _parse_counters(name: str, environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names and patterns of the counters that exist, or None if the owner has yet to choose."""
    text = environment.get(name, "*" if environment["STAGE"] == LOCAL_STAGE else None)
    if text is None:
        return None
    if len(text) > _COUNTERS_LENGTH:
        raise SettingsError(
            f"{name} must be at most {_COUNTERS_LENGTH} characters, got {len(text)}: use patterns such as likes-*, "
            "or add counters with `python -m ops counters add`"
        )
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    for entry in entries:
        if not is_counter_pattern(entry):
            raise SettingsError(
                f"{name} must be * or names and patterns separated by commas, such as visits,likes-*, each "
                f"{COUNTER_PATTERN}, got {entry!r}"
            )
    return tuple(dict.fromkeys(entries))


def _parse_fronts(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get(name, "rest")
    fronts = tuple(part.strip() for part in text.split(","))
    if not set(fronts) <= set(FRONTS) or len(set(fronts)) < len(fronts):
        raise SettingsError(
            f"{name} must be rest, http or url, or several of them, each once, separated by commas, got {text!r}"
        )
    return fronts


def _parse_digests(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the SHA-256 digests of the secrets that the stage's CDN may send."""
    text = environment.get(name, "")
    digests = tuple(text.split(",")) if text else ()
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests) or len(digests) > 4:
        raise SettingsError(
            f"{name} must be the SHA-256 digests of one to four secrets, in lower-case hexadecimal, separated by "
            "commas, and not the secrets themselves"
        )
    return digests


def _parse_reader_url(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name, "") or environment.get("SQL_URL", "")


def _parse_switches(_name: str, environment: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name in _SWITCHES if _parse_integer(name, environment.get(name, "0"), 0, 1))


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Everything that may differ between two deployments. The stage determines the names of tables and queues.

    Each setting is read from the variable of the same name in upper case, except `switches`, which contains the
    variables that switch a projection on.
    """

    stage: str = _setting(_parse_stage)
    allowed_origin: tuple[str, ...] = _setting(_parse_origins)
    counters: tuple[str, ...] | None = _setting(_parse_counters)
    writers: str = _one_of(CALLERS, "anyone")
    readers: str = _one_of(CALLERS, "anyone")
    jwt_issuer: str = _text()
    jwt_audience: str = _text()
    max_increment: int = _integer(1000, 1, LARGEST_AMOUNT)
    shards: int = _integer(1, 1, MAX_PARTS)
    batching_window_s: int = _integer(1, 0, 300)
    projectors: int | None = _integer(None, 2, 1000)
    log_level: str = _one_of(LOG_LEVELS, "INFO")
    event_log_stream_arn: str = _text()
    check_events: int = _integer(20_000, 20, 1_000_000)
    front: tuple[str, ...] = _setting(_parse_fronts)
    front_secrets: tuple[str, ...] = _setting(_parse_digests)
    cdn: str = _one_of(CDNS, "none")
    requests_per_s: int = _integer(1000, 1, 10_000)
    expensive_reads_per_s: int = _integer(100, 1, 10_000)
    reserved_api: int | None = _integer(None, 1, 1000)
    reserved_publish: int | None = _integer(None, 1, 1000)
    reserved_project: int | None = _integer(None, 2, 1000)
    access_log: int = _integer(0, 0, 1)
    waf: int | None = _integer(None, 10, 2_000_000_000)
    partial_batch_responses: int = _integer(0, 0, 1)
    sdk: str = _one_of(SDKS, "runtime")
    sql_url: str = _text()
    sql_reader_url: str = _setting(_parse_reader_url)
    switches: frozenset[str] = _setting(_parse_switches)

    @property
    def event_log_table(self) -> str:
        """Name of the event log's table: the source of truth, append-only."""
        return f"counter-{self.stage}-event-log"

    @property
    def counters_table(self) -> str:
        """Name of the read model's table with one item per part of a counter."""
        return f"counter-{self.stage}-counters"

    @property
    def archive_table(self) -> str:
        """Name of the read model's table with the archive pages of older entries."""
        return f"counter-{self.stage}-archive"

    @property
    def catalog_table(self) -> str:
        """Name of the catalog's table: the operators' changes to COUNTERS."""
        return f"counter-{self.stage}-catalog"

    @property
    def has_authorizer(self) -> bool:
        """Whether API Gateway invokes the function `authorize` to verify tokens."""
        return "jwt" in (self.writers, self.readers)

    @property
    def projections(self) -> tuple[Projection, ...]:
        """The projections that the stage has: the read model, and those that are switched on."""
        on = {"", *self.switches, *([SQL.setting] if self.sql_url else [])}
        return tuple(projection for projection in PROJECTIONS if projection.setting in on)


def read(environment: Mapping[str, str]) -> Settings:
    """
    Read the settings from these variables.

    Raises:
        SettingsError: a variable is missing or invalid. The message gives its name and the rule.
    """
    found = Settings(**{each.name: each.metadata["parse"](each.name.upper(), environment) for each in fields(Settings)})
    if found.sql_url:
        check_sql_url("SQL_URL", found.sql_url, found.sql_url)
        check_sql_url("SQL_READER_URL", found.sql_reader_url, found.sql_url)
    elif found.sql_reader_url:
        raise SettingsError("SQL_READER_URL requires SQL_URL")
    if found.reserved_project and not (found.projectors and found.projectors <= found.reserved_project):
        # Otherwise, Lambda throttles the queue's pollers, and messages reach their maximum number of deliveries.
        raise SettingsError(
            f"RESERVED_PROJECT requires PROJECTORS of at most {found.reserved_project}, got {found.projectors}"
        )
    if found.jwt_issuer or found.has_authorizer:
        _check_issuer(found)
    _check_fronts(found, environment)
    return found


@functools.cache
def current() -> Settings:
    """Return the settings of this process. Later changes to its environment have no effect."""
    return read(os.environ)


def check_sql_url(name: str, url: str, sql_url: str) -> None:
    """
    Check that `url` is a valid value of the variable `name` in a stage whose SQL_URL is `sql_url`.

    Raises:
        SettingsError: `url` is malformed, contains a password, or names another kind of database.
    """
    if not _SQL_URL.fullmatch(url) or not url.isprintable():
        raise SettingsError(
            f"{name} must be sqlite:///PATH, postgresql+psycopg://USER@HOST:PORT/DATABASE or "
            "auroradsql+psycopg://USER@CLUSTER.dsql.REGION.on.aws/postgres, and must not contain a password. USER@, "
            ":PORT and ?PARAMETERS are optional"
        )
    scheme = sql_url.partition("://")[0]
    if not url.startswith(f"{scheme}://"):
        raise SettingsError(f"{name} must begin with {scheme}://, like SQL_URL: both connect to the same database")


def _check_issuer(found: Settings) -> None:
    issuer, audience = found.jwt_issuer, found.jwt_audience
    if not _ISSUER.fullmatch(issuer) and not (found.stage == LOCAL_STAGE and _LOCAL_ISSUER.fullmatch(issuer)):
        raise SettingsError(
            "JWT_ISSUER must be the https URL of an OpenID Connect issuer, or an http URL of localhost in stage "
            f"{LOCAL_STAGE}, exactly as in the `iss` claim of its tokens, for example https://login.example, got "
            f"{issuer!r}"
        )
    if not re.fullmatch(r"[!-~]{1,255}", audience):
        raise SettingsError(
            "JWT_AUDIENCE must be 1 to 255 printable ASCII characters without spaces: the `aud` claim of the "
            f"tokens, got {audience!r}"
        )


def _check_fronts(found: Settings, environment: Mapping[str, str]) -> None:
    """Check that the stage's fronts and its CDN support the other settings."""
    open_fronts = [front for front in found.front if front != "rest"]
    restricted = [name for name in ("WRITERS", "READERS") if environment.get(name, "anyone") != "anyone"]
    if open_fronts and restricted:
        raise SettingsError(
            f"FRONT={open_fronts[0]} requires {restricted[0]}=anyone: only the REST API checks callers. Use FRONT=rest"
        )
    ignored = [] if "rest" in found.front else [*_REST_SETTINGS, *([] if "http" in found.front else ["REQUESTS_PER_S"])]
    if given := [name for name in ignored if environment.get(name, "0") != "0"]:
        advice = "" if given[0] == "ACCESS_LOG" else "limit requests in the CDN and with RESERVED_API, or "
        raise SettingsError(f"{given[0]} has no effect with FRONT={','.join(found.front)}: {advice}use FRONT=rest")
    if found.front_secrets and not open_fronts:
        raise SettingsError("FRONT_SECRETS requires FRONT=url or FRONT=http: the REST API checks no secrets")
    if found.cdn != "none" and not open_fronts:
        raise SettingsError(f"CDN={found.cdn} requires FRONT=url or FRONT=http, which check the CDN's secret")
    if found.cdn != "none" and found.stage == LOCAL_STAGE:
        raise SettingsError(
            f"CDN must be none in stage {LOCAL_STAGE}: browsers cannot resolve the domain that the embedded AWS "
            "gives a distribution"
        )
