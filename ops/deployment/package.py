"""Package the application with `chalice package`, its overlay and the wheels of its requirements."""

import fcntl
import hashlib
import json
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

import boto3

from chalicelib import cold_start
from chalicelib.projections import SQL
from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import overlay, policies, zip_package

#: A placeholder for the ARN of the log's stream. The overlay replaces it with an import.
_STREAM_ARN = "arn:aws:dynamodb:::table/log/stream/imported"

#: pip's name for the functions' platform.
_PLATFORM = "manylinux2014_aarch64"

#: The dependencies with compiled code.
_BINARIES = ("psycopg-binary", "cffi", "cryptography")

#: boto3 and its dependencies, in requirements/dev.txt.
_SDK = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")

#: The packages of requirements/sql.txt that each database needs.
_NEEDED_BY = {
    "sqlite": ("sqlalchemy",),
    "postgresql+psycopg": ("sqlalchemy", "psycopg", "psycopg-binary"),
    "auroradsql+psycopg": (
        "sqlalchemy",
        "psycopg",
        "psycopg-binary",
        "psycopg-pool",
        "aurora-dsql-python-connector",
        "aurora-dsql-sqlalchemy",
    ),
}

#: The packages of requirements/jwt.txt, which the authorizer needs.
_TOKENS = ("pyjwt", "cryptography", "cffi")


def check_sql(settings: Settings) -> None:
    """Check that the stage does not use a SQLite file on Lambda."""
    if settings.sql_url.startswith("sqlite:") and settings.stage != stages.LOCAL_STAGE:
        raise OperatorError(
            "On Lambda, SQL_URL must name a database server, got a SQLite file, which only one machine can read."
        )


def package(settings: Settings, folder: Path) -> Path:
    """
    Build the code, `deployment.zip`, and the application's template, `sam.json`. Return the folder with both files.

    This folder and all temporary files are inside `folder`, so that the next call removes the files of a killed call.

    Code and template are independent of the account: when deployed, the template imports values from the stage's data
    stack. `chalice package` builds both from a clean copy of the files that ship, so other files of the checkout are
    excluded. Reproducible: the same checkout gives the same files.

    Concurrent calls with the same folder wait for each other. Otherwise, one call would remove files that another call
    packages.
    """
    stages.check_counters(settings)
    check_sql(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return _build(settings, folder)


def _build(settings: Settings, folder: Path) -> Path:
    source, result, temporary = folder / "source", folder / "result", folder / "tmp"
    for old in (source / "chalicelib", result, temporary):
        shutil.rmtree(old, ignore_errors=True)
    temporary.mkdir(parents=True)
    unshipped = shutil.ignore_patterns("__pycache__", *([] if SQL in settings.projections else ["sql"]))
    shutil.copytree(stages.PROJECT / "chalicelib", source / "chalicelib", ignore=unshipped)
    shutil.copytree(stages.PROJECT / ".chalice", source / ".chalice", ignore=unshipped, dirs_exist_ok=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(stages.PROJECT / name, source)
    _configure(settings, source / ".chalice" / "config.json")
    policies.write(settings, source / ".chalice")
    switches = {projection.setting: "1" for projection in settings.projections if projection.setting}
    addresses = {"SQL_URL": settings.sql_url, "SQL_READER_URL": settings.sql_reader_url}
    names = ("WRITERS", "READERS", "JWT_ISSUER", "JWT_AUDIENCE") if settings.has_authorizer else ()
    access = {name: getattr(settings, name.lower()) for name in names}
    environment = {"STAGE": settings.stage, **switches, **addresses, **access}
    overlay_file = folder / "overlay.json"
    overlay_file.write_text(json.dumps(overlay.render(settings)), encoding="utf-8")
    options = ["--stage", settings.stage, "--merge-template", str(overlay_file.resolve())]
    chalice = "import sys; from chalice.cli import main; sys.exit(main())"
    zip_package.run(
        [sys.executable, "-c", chalice, "package", *options, str(result.resolve())],
        "chalice package failed",
        source,
        {
            "EVENT_LOG_STREAM_ARN": _STREAM_ARN,
            # Chalice requires a region. Its output is the same for all regions of a partition.
            "AWS_DEFAULT_REGION": boto3.Session().region_name or "us-east-1",
            "TMPDIR": str(temporary.resolve()),
            **environment,
            **pip_variables(source / "requirements.txt", settings),
        },
    )
    if "rest" not in settings.front:
        template = result / "sam.json"
        template.write_text(overlay.without_rest_api(template.read_text(encoding="utf-8")), encoding="utf-8")
    functions = cold_start.list_functions(
        settings.projections, has_authorizer=settings.has_authorizer, has_serve=settings.front != ("rest",)
    )
    zip_package.finish(result / "deployment.zip", functions, environment)
    return result


def _configure(settings: Settings, config: Path) -> None:
    """Add the functions of optional features to the configuration, and the SQL addresses with absolute paths."""
    configuration = json.loads(config.read_text(encoding="utf-8"))
    stages.add_functions(configuration, settings)
    variables = configuration["stages"][settings.stage]["environment_variables"]
    reader_url = "" if settings.sql_reader_url == settings.sql_url else settings.sql_reader_url
    for name, address in {"SQL_URL": settings.sql_url, "SQL_READER_URL": reader_url}.items():
        variables.pop(name, None)
        if address:
            variables[name] = address
    config.write_text(json.dumps(configuration, indent=2), encoding="utf-8")


def pip_variables(requirements: Path, settings: Settings) -> dict[str, str]:
    """
    Add the stage's optional packages to the requirements, download the wheels once, and return pip's environment.

    pip checks the hash of each file on download, and every call checks the files again: Chalice fetches wheels for the
    functions' platform without hashes. The name of the wheels' folder is derived from the requirements, including
    hashes, and from this machine's platform and Python version. Packaging again therefore needs no network access.
    """
    pins = _pins("requirements/sql.txt", _NEEDED_BY.get(settings.sql_url.partition("://")[0], ()))
    if settings.has_authorizer:
        pins |= _pins("requirements/jwt.txt", _TOKENS)
    if settings.sdk == "package":
        pins |= _pins("requirements/dev.txt", _SDK)
    binary = "\n".join(pins.pop(name) for name in _BINARIES if name in pins)
    shipped = "\n".join([requirements.read_text(encoding="utf-8").rstrip(), *pins.values(), ""])
    names = (shipped, binary, sysconfig.get_platform(), sys.implementation.cache_tag)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    folder = stages.PROJECT / ".local" / f"wheels-{digest[:12]}"
    if not folder.exists():
        _download(shipped, binary, folder)
    _check_hashes(folder, shipped + binary)
    requirements.write_text(shipped + binary, encoding="utf-8")
    # A URL, because pip splits this variable at spaces.
    return {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.resolve().as_uri()}


def _download(pure: str, binary: str, folder: Path) -> None:
    """Download the files of these requirements. If processes run concurrently, one of them creates the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=folder.parent) as name:
        downloads, requirements = Path(name, "wheels"), Path(name, "requirements.txt")
        downloads.mkdir()
        for pins, platforms in (
            # SQLAlchemy also has faster, compiled wheels, but each is for one platform.
            (pure, ["any"]),
            # Chalice first looks for a wheel for the machine that runs it.
            (binary, [None, _PLATFORM]),
        ):
            requirements.write_text(pins, encoding="utf-8")
            for platform in platforms if pins else []:
                options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-d", str(downloads)]
                options += ["--platform", platform] if platform else []
                command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "-r", str(requirements)]
                zip_package.run(command, "pip download failed", stages.PROJECT, {})
        try:
            downloads.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _check_hashes(folder: Path, requirements: str) -> None:
    for file in folder.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if f"--hash=sha256:{digest}" not in requirements:
            raise OperatorError(f"{file} differs from its hash in the requirements: delete {folder} and try again.")


def _pins(file: str, packages: Iterable[str]) -> dict[str, str]:
    """Return the pins of these packages, with hashes, by name."""
    text = (stages.PROJECT / file).read_text(encoding="utf-8")
    pins = {pin.partition("==")[0]: pin for pin in re.findall(r"^[\w.-]+==.*(?:\n    .*)*", text, re.MULTILINE)}
    return {package: pins[package] for package in packages}
