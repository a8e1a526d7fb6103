"""Read and change the stages in `.chalice/config.json`, and set the environment of commands."""

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chalicelib import settings
from chalicelib.errors import SettingsError
from chalicelib.projections import PROJECTIONS
from chalicelib.settings import Settings
from ops.cli.errors import InputError, OperatorError

PROJECT = Path(__file__).parent.parent
LOCAL_STAGE = settings.LOCAL_STAGE

#: The start of the line in `.local/env` that exports the variables of the other lines to a shell's commands. The line
#: is itself an assignment, for programs that read all lines as assignments. The line also unsets variables that would
#: take precedence.
EXPORT = "IS_LOCAL=1; unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_REGION AWS_SESSION_TOKEN; export "

#: The variables that switch optional projections on.
SWITCHES = tuple(projection.setting for projection in PROJECTIONS[1:])

#: Variables that keep the SDK and PynamoDB from reading settings from files.
_NO_FILES = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "PYNAMODB_CONFIG"), os.devnull)

_PASSWORD = re.compile(r"(?<=://)([^:@/?]*):[^@]*@")

#: Variables of the local system whose names look like settings of the SDK.
_SYSTEM_VARIABLES = ("AWS_PORT",)

#: The functions of every stage: Chalice's name of the function, and the name of its policy file.
FUNCTIONS = {"api_handler": "api", "publish": "publish", "project": "project", "check": "check"}


def read_settings(stage: str) -> Settings:
    """Return the settings that the stage's functions read from their environment."""
    environment = read_environment(stage)
    _check_names(stage, environment)
    try:
        return settings.read(environment)
    except SettingsError as error:
        raise OperatorError(f"Stage {stage} in .chalice/config.json: {error}") from error


def _check_names(stage: str, environment: Mapping[str, str]) -> None:
    """Refuse a misspelt setting, because its default may be insecure. Allow the variables of other programs."""
    known = {*(field.name.upper() for field in dataclasses.fields(settings.Settings)), *SWITCHES}
    for name in sorted(environment.keys() - known):
        if similar := difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8):
            raise OperatorError(f"Stage {stage} in .chalice/config.json: no setting is named {name}. Use {similar[0]}.")


def read_environment(stage: str) -> dict[str, str]:
    """Return the environment variables of the stage's functions."""
    if not is_known(stage):
        raise OperatorError(
            f"{describe_unknown_stage(stage)} Create it with `python -m ops provision --stage {stage}`."
        )
    variables: dict[str, str] = {**_configuration()["stages"][stage].get("environment_variables", {})}
    for name in {"SQL_URL", "SQL_READER_URL"} & variables.keys():
        variables[name] = _make_absolute(variables[name])
    return variables


def is_known(stage: str) -> bool:
    """Check whether the configuration has this stage."""
    return stage in _configuration()["stages"]


def describe_unknown_stage(stage: str) -> str:
    """Return the error message for a stage that does not exist."""
    return f"No such stage: {stage}. Stages in .chalice/config.json: {', '.join(_configuration()['stages'])}."


def check_counters(stage_settings: Settings) -> None:
    """Check that the owner of the stage has chosen which counters exist."""
    if stage_settings.counters is None:
        raise OperatorError(
            f"COUNTERS of stage {stage_settings.stage} is not set: choose with `python -m ops provision --stage "
            f"{stage_settings.stage} --counters TEXT`, where TEXT is '*' (clients may create any counter), names and "
            "patterns such as 'visits,likes-*', or '' (only counters added with `python -m ops counters add`)."
        )


def add(stage: str, counters: str | None) -> None:
    """Add the stage to the configuration, with the initial settings of `dev` and `prod`, and COUNTERS."""
    chosen = {} if counters is None else {"COUNTERS": counters}
    check_counters(_read_settings({"STAGE": stage, **chosen}))
    configuration = _configuration()
    configuration["stages"][stage] = {
        "environment_variables": {"STAGE": stage, "ALLOWED_ORIGIN": "*", **chosen},
        "lambda_functions": {
            function: {"iam_policy_file": _policy_file(stage, policy)} for function, policy in FUNCTIONS.items()
        },
    }
    _write(configuration)


def set_counters(stage: str, counters: str) -> None:
    """Set COUNTERS of a stage in the configuration. Safe to repeat."""
    _read_settings({"STAGE": stage, "COUNTERS": counters})
    configuration = _configuration()
    configuration["stages"][stage].setdefault("environment_variables", {})["COUNTERS"] = counters
    _write(configuration)


def _read_settings(environment: dict[str, str]) -> Settings:
    try:
        return settings.read(environment)
    except SettingsError as error:
        raise InputError(f"{error}.") from error


def configure_functions(stage_settings: Settings) -> None:
    """Add the functions of the stage's optional features to the configuration. Safe to repeat."""
    configuration = _configuration()
    if add_functions(configuration, stage_settings):
        _write(configuration)


def add_functions(configuration: dict[str, Any], stage_settings: Settings) -> bool:
    """
    Add the functions of the stage's optional features to a configuration. Return whether the configuration changed.

    The functions are those of the optional projections and, for tokens, `authorize`. For all stages, each function gets
    the settings of `project`. For this stage, the function also gets an entry with its policy file. Without this entry,
    Chalice would look for a file with another name. Existing settings stay.
    """
    optional = [projection.function for projection in stage_settings.projections[1:]]
    optional += ["authorize"] if stage_settings.has_authorizer else []
    if not optional:
        return False
    before = json.dumps(configuration)
    of_all = configuration.setdefault("lambda_functions", {})
    of_stage = configuration["stages"][stage_settings.stage].setdefault("lambda_functions", {})
    for function in optional:
        of_all.setdefault(function, {**of_all.get("project", {})})
        policy = _policy_file(stage_settings.stage, function)
        of_stage.setdefault(function, {}).setdefault("iam_policy_file", policy)
    return json.dumps(configuration) != before


def _policy_file(stage: str, policy: str) -> str:
    return f"policies/{stage}/{policy}.json"


def _configuration() -> dict[str, Any]:
    """Read the configuration, and check that each stage's environment variables are strings."""
    try:
        configuration: dict[str, Any] = json.loads(_file().read_text(encoding="utf-8"))
        variables = [
            (stage, name, value)
            for stage, content in configuration["stages"].items()
            for group in ("lambda_functions", "template_parameters", "environment_variables")
            for name, value in content.get(group, {}).items()
            if group == "environment_variables"
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise OperatorError(f"{_file()} must be JSON with an object for each stage, got {error!r}.") from error
    for stage, name, value in variables:
        if not isinstance(value, str):
            raise OperatorError(f"{name} of stage {stage} in {_file()} must be a string, got {json.dumps(value)}.")
    return configuration


def _write(configuration: dict[str, Any]) -> None:
    """Replace the configuration. If the call is interrupted or the disk is full, the old configuration stays."""
    file = _file().resolve()
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        draft.write_text(f"{json.dumps(configuration, indent=2)}\n", encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _file() -> Path:
    return PROJECT / ".chalice" / "config.json"


def _make_absolute(sql_url: str) -> str:
    """Make the path in a SQLite URL absolute: relative paths are relative to the local folder. Keep any other URL."""
    path = sql_url.removeprefix("sqlite:///")
    if path in ("", sql_url) or path.startswith("/"):
        return sql_url
    return f"sqlite:///{quote(str(local_folder().resolve()))}/{path}"


def find_sql_url(stage_settings: Settings) -> str:
    """
    Return the URL with which operators connect to the SQL read model: SQL_OWNER_URL from the environment, or SQL_URL.

    The URL is empty if SQL is off. SQL_OWNER_URL may contain a password. SQL_URL may not, because functions store it.

    Raises:
        SettingsError: SQL_OWNER_URL is malformed, or names another kind of database than SQL_URL.
    """
    owner_url = os.environ.get("SQL_OWNER_URL")
    if not stage_settings.sql_url or not owner_url:
        return stage_settings.sql_url
    settings.check_sql_url("SQL_OWNER_URL", _PASSWORD.sub(r"\1@", owner_url, count=1), stage_settings.sql_url)
    return owner_url


def read_template_parameters(stage: str) -> dict[str, str]:
    """Return the template parameters that the configuration sets for this stage."""
    parameters = _configuration()["stages"].get(stage, {}).get("template_parameters", {})
    return {name: str(value) for name, value in parameters.items()}


def enter(stage: str) -> Settings:
    """
    Give this process the environment of the stage's functions, and return the stage's settings.

    Settings in the process's own environment are dropped, because the functions do not see them. For example, with
    another value of SHARDS, an adjustment would be written where the functions do not look for its key.

    Stage local always means the embedded AWS whose state is in `local_folder`, regardless of AWS_* variables.

    Call this before importing modules that read their settings on import.
    """
    stage_settings = read_settings(stage)
    for name in (*(field.name.upper() for field in dataclasses.fields(stage_settings)), *SWITCHES):
        os.environ.pop(name, None)
    os.environ.update(read_environment(stage))
    os.environ["PYNAMODB_CONFIG"] = _NO_FILES["PYNAMODB_CONFIG"]  # could name another region than the SDK's
    if stage == LOCAL_STAGE:
        use_embedded_aws(addresses(local_folder()))
    settings.current.cache_clear()
    return stage_settings


def use_embedded_aws(access: Mapping[str, str]) -> None:
    """
    Make this process and its children send all AWS requests to an embedded AWS. Safe to repeat.

    `access` contains the address, credentials and region of the embedded AWS. All other settings of the SDK are
    dropped: profiles, files and addresses of single services might point elsewhere. Requests to this machine bypass the
    environment's proxies.
    """
    for name in [name for name in os.environ if name.startswith("AWS_") and name not in _SYSTEM_VARIABLES]:
        del os.environ[name]
    os.environ.update({**access, **_NO_FILES, **bypass_proxies()})


def bypass_proxies() -> dict[str, str]:
    """Return the environment variables that keep requests to this machine from the environment's proxies."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = dict.fromkeys(["127.0.0.1", "localhost", *re.findall(r"[\w.:*/\[\]-]+", others)])
    return dict.fromkeys(("no_proxy", "NO_PROXY"), "*" if "*" in hosts else ",".join(hosts))


def local_folder() -> Path:
    """Return the folder for the checkout's local state."""
    return Path(os.environ.get("LOCAL_FOLDER") or PROJECT / ".local")


def addresses(folder: Path) -> dict[str, str]:
    """
    Read the variables of the running local system from the file `env` in this folder.

    They include API_URL, PAGE_URL, AWS_ENDPOINT_URL and the credentials of the embedded AWS.

    Raises:
        OperatorError: the system is not running, so there is no such file, or the file lacks AWS_ENDPOINT_URL. Without
            this address, requests could reach an account whose credentials the SDK finds elsewhere.
    """
    file = folder / "env"
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise OperatorError("The embedded AWS is not running: start it with `make up`.") from error
    found = {name: value for name, _, value in (line.partition("=") for line in lines if not line.startswith(EXPORT))}
    if not found.get("AWS_ENDPOINT_URL"):
        raise OperatorError(f"{file} has no AWS_ENDPOINT_URL: restart the system with `make down` and `make up`.")
    return found
