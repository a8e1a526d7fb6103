"""Stages: what `.chalice/config.json` says of them, and which AWS they are on."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chalicelib import settings
from chalicelib.errors import SettingsError
from ops.cli.errors import InputError, OperatorError

if TYPE_CHECKING:
    from chalicelib.settings import Settings

PROJECT = Path(__file__).parent.parent
LOCAL_STAGE = "local"


#: The functions, as Chalice names them, and the policy that each has.
_POLICIES = {"api_handler": "api", "publish": "publish", "project": "project", "check": "check"}


def settings_of(stage: str) -> Settings:
    """
    The settings that the stage's functions will read from their environment.

    Raises:
        OperatorError: the configuration has no such stage, or a setting is out of range.
    """
    try:
        return settings.read(environment_of(stage))
    except SettingsError as error:
        raise OperatorError(f"Stage {stage} in .chalice/config.json: {error}") from error


def environment_of(stage: str) -> dict[str, str]:
    """
    The environment variables of the stage's functions.

    Raises:
        OperatorError: the configuration has no such stage.
    """
    if not is_known(stage):
        raise OperatorError(f"{unknown(stage)} `python -m ops provision --stage {stage}` makes it.")
    found: dict[str, str] = {**_configuration()["stages"][stage].get("environment_variables", {})}
    for name in {"SQL_URL", "SQL_READER_URL"} & found.keys():
        found[name] = _absolute(found[name])
    return found


def is_known(stage: str) -> bool:
    """Whether the configuration has this stage."""
    return stage in _configuration()["stages"]


def unknown(stage: str) -> str:
    """What to tell of a stage that the configuration does not have."""
    return f"There is no stage {stage!r} in .chalice/config.json; there are: {', '.join(_configuration()['stages'])}."


def add(stage: str) -> None:
    """
    The configuration has the stage, with the settings that `dev` and `prod` come with.

    Raises:
        InputError: no stage can have this name. Nothing is written.
    """
    try:
        settings.read({"STAGE": stage})
    except SettingsError as error:
        raise InputError(f"{error}.") from error
    configuration = _configuration()
    configuration["stages"][stage] = {
        "environment_variables": {"STAGE": stage, "ALLOWED_ORIGIN": "*"},
        "lambda_functions": {
            function: {"iam_policy_file": f"policies/{stage}/{policy}.json"} for function, policy in _POLICIES.items()
        },
    }
    _file().write_text(f"{json.dumps(configuration, indent=2)}\n", encoding="utf-8")


def _file() -> Path:
    return PROJECT / ".chalice" / "config.json"


def _configuration() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_file().read_text(encoding="utf-8"))
    return found


def _absolute(sql_url: str) -> str:
    """The same address; that of a file without a leading slash is in the local folder."""
    scheme, is_file, path = sql_url.partition("sqlite:///")
    return f"{scheme}{is_file}{local_folder().resolve() / path}" if is_file else sql_url


def template_parameters_of(stage: str) -> dict[str, str]:
    """What the configuration says of the template's parameters for this stage: nothing, where their defaults hold."""
    found = _configuration()["stages"].get(stage, {}).get("template_parameters", {})
    return {name: str(value) for name, value in found.items()}


def functions_of(stage: str) -> dict[str, dict[str, Any]]:
    """What the configuration says of this stage's functions, as Chalice names them: nothing, if it says nothing."""
    found: dict[str, dict[str, Any]] = _configuration()["stages"].get(stage, {}).get("lambda_functions", {})
    return found


def enter(stage: str) -> Settings:
    """
    From now on the process reads and writes the stage, as the stage's own functions do. Returns its settings.

    What the process was started with of the settings' variables is forgotten: the functions do not see it, and with
    other SHARDS, for one, an adjustment would be written to where they do not look for its key.

    To be called before what reads its settings once is imported.

    Raises:
        OperatorError: the configuration has no such stage, or the embedded AWS, for stage local, is not running.
    """
    found = settings_of(stage)
    for field in dataclasses.fields(found):
        os.environ.pop(field.name.upper(), None)
    os.environ.update(environment_of(stage))
    if stage == LOCAL_STAGE:
        os.environ.update(addresses(local_folder()))
    settings.current.cache_clear()
    return found


def local_folder() -> Path:
    """Where all that this checkout keeps on this machine lies."""
    return Path(os.environ.get("LOCAL_FOLDER", PROJECT / ".local"))


def addresses(folder: Path) -> dict[str, str]:
    """
    What a running embedded AWS wrote down for whoever uses it: API_URL, PAGE_URL, AWS_ENDPOINT_URL and credentials.

    Raises:
        OperatorError: none is running.
    """
    try:
        lines = (folder / "env").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise OperatorError("The embedded AWS is not running: start it with `make up`.") from error
    return dict(line.split("=", 1) for line in lines)
