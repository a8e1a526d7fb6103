"""What the configuration says of a stage's databases, as the functions and the operators' program are told it."""

from __future__ import annotations

import json

import pytest

from ops import deploy, package, pipeline, stages
from ops.errors import OperatorError


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A project with one stage of these variables."""

    def stage(name, **variables):
        (tmp_path / ".chalice").mkdir()
        configuration = {"stages": {name: {"environment_variables": {"STAGE": name, **variables}}}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
        monkeypatch.setattr(stages, "PROJECT", tmp_path)
        monkeypatch.setenv("LOCAL_FOLDER", str(tmp_path / "local"))
        return tmp_path / "local"

    return stage


def test_a_file_is_in_the_local_folder_for_who_writes_and_who_reads(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite", SQL_READER_URL="sqlite:///other.sqlite")

    found = stages.settings_of("local")

    assert found.sql_url == f"sqlite:///{folder}/counter.sqlite"
    assert found.sql_reader_url == f"sqlite:///{folder}/other.sqlite"


def test_who_reads_reads_what_is_written_where_nothing_else_is_said(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite")

    assert stages.settings_of("local").sql_reader_url == f"sqlite:///{folder}/counter.sqlite"


@pytest.mark.parametrize("make", [deploy.deploy, package.package, pipeline.package])
def test_a_file_is_not_deployed_nor_packaged(configured, tmp_path, make):
    configured("dev", SQL_URL="sqlite:////a")

    with pytest.raises(OperatorError, match="functions run on many: SQL_URL must name a server"):
        make(stages.settings_of("dev"), tmp_path)
