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


def test_database_file_is_in_the_local_folder_for_writer_and_reader(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite", SQL_READER_URL="sqlite:///other.sqlite")

    found = stages.settings_of("local")

    assert found.sql_url == f"sqlite:///{folder}/counter.sqlite"
    assert found.sql_reader_url == f"sqlite:///{folder}/other.sqlite"


def test_reader_url_defaults_to_the_writers(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite")

    assert stages.settings_of("local").sql_reader_url == f"sqlite:///{folder}/counter.sqlite"


@pytest.mark.parametrize("make", [deploy.deploy, package.package, pipeline.package])
def test_a_file_is_not_deployed_nor_packaged(configured, tmp_path, make):
    configured("dev", SQL_URL="sqlite:////a")

    with pytest.raises(OperatorError, match="functions run on many: SQL_URL must name a server"):
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
        "Stage dev has SQL_URL and lacks the function that writes there: add "
        '"project_sql": {"iam_policy_file": "policies/dev/project_sql.json"} to its lambda_functions in '
        ".chalice/config.json."
    )
