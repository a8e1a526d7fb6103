"""The configuration of a stage's databases."""

from __future__ import annotations

import json

import pytest

from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import deploy, package, pipeline


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a project with one stage of these variables."""

    def stage(name, **variables):
        (tmp_path / ".chalice").mkdir()
        configuration = {"stages": {name: {"environment_variables": {"STAGE": name, **variables}}}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
        monkeypatch.setattr(stages, "PROJECT", tmp_path)
        monkeypatch.setenv("LOCAL_FOLDER", str(tmp_path / "local"))
        return tmp_path / "local"

    return stage


def test_relative_sqlite_paths_are_in_the_local_folder(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite", SQL_READER_URL="sqlite:///other.sqlite")

    settings = stages.settings_of("local")

    assert settings.sql_url == f"sqlite:///{folder}/counter.sqlite"
    assert settings.sql_reader_url == f"sqlite:///{folder}/other.sqlite"


def test_reader_url_defaults_to_sql_url(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite")

    assert stages.settings_of("local").sql_reader_url == f"sqlite:///{folder}/counter.sqlite"


@pytest.mark.parametrize("make", [deploy.deploy, package.package, pipeline.package])
def test_sqlite_is_refused_on_lambda(configured, tmp_path, make):
    configured("dev", SQL_URL="sqlite:////a")

    with pytest.raises(OperatorError, match="SQL_URL must name a database server on Lambda"):
        make(stages.settings_of("dev"), tmp_path)


@pytest.mark.parametrize("make", [deploy.deploy, package.package, pipeline.package])
@pytest.mark.parametrize("functions", [None, {}, {"project_sql": {}}])
def test_stage_without_the_second_projector_is_refused_with_the_way_out(configured, tmp_path, make, functions):
    configured("dev", SQL_URL="postgresql+psycopg://counter@host/counter")
    file = tmp_path / ".chalice" / "config.json"
    configuration = json.loads(file.read_text())
    if functions is not None:
        configuration["stages"]["dev"]["lambda_functions"] = functions
    file.write_text(json.dumps(configuration))

    with pytest.raises(OperatorError) as refused:
        make(stages.settings_of("dev"), tmp_path)

    assert str(refused.value) == (
        "SQL_URL requires a policy for the function that writes to the database: add "
        '"project_sql": {"iam_policy_file": "policies/dev/project_sql.json"} to the lambda_functions of stage dev in '
        ".chalice/config.json."
    )
