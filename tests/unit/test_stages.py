"""The configuration of a stage's databases."""

from __future__ import annotations

import json

import pytest

from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import ci_package, deploy, package


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a project with one stage of these variables."""

    def stage(name, **variables):
        (tmp_path / ".chalice").mkdir()
        environment = {"STAGE": name, **variables}
        configuration = {"stages": {name: {"environment_variables": environment, "lambda_functions": {}}}}
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


@pytest.mark.parametrize("make", [deploy.deploy, package.package, ci_package.package])
def test_sqlite_is_refused_on_lambda(configured, tmp_path, make):
    configured("dev", SQL_URL="sqlite:////a")

    with pytest.raises(OperatorError, match="SQL_URL must name a database server on Lambda"):
        make(stages.settings_of("dev"), tmp_path)


def read_functions(folder):
    return json.loads((folder / ".chalice" / "config.json").read_text())["stages"]["dev"]["lambda_functions"]


def test_optional_projection_gets_a_function_that_keeps_its_own_settings(configured, tmp_path):
    configured("dev", SQL_URL="postgresql+psycopg://counter@host/counter")
    before = read_functions(tmp_path)

    stages.configure_functions(stages.settings_of("dev"))
    added = read_functions(tmp_path)

    assert added == {**before, "project_sql": {"iam_policy_file": "policies/dev/project_sql.json"}}
    file = tmp_path / ".chalice" / "config.json"
    file.write_text(file.read_text().replace("policies/dev/project_sql.json", "other.json"))
    stages.configure_functions(stages.settings_of("dev"))
    assert read_functions(tmp_path)["project_sql"] == {"iam_policy_file": "other.json"}


def test_configuration_of_the_project_is_complete():
    """Otherwise, `provision` and `package` would change a file of a clean checkout."""
    configuration = json.loads((stages.PROJECT / ".chalice" / "config.json").read_text())

    for stage in ("local", "dev", "prod"):
        assert not stages.add_functions(configuration, stages.settings_of(stage))


def test_stage_without_optional_projections_is_not_rewritten(configured, tmp_path):
    configured("dev")
    before = (tmp_path / ".chalice" / "config.json").stat()

    stages.configure_functions(stages.settings_of("dev"))

    assert (tmp_path / ".chalice" / "config.json").stat() == before
