"""The configuration of a stage's databases."""

import fcntl
import json
import resource

import pytest

from chalicelib.extras.sql import read_model, read_only
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import ci_package, deploy, package
from ops.maintenance import sql


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a project with one stage that has these variables."""

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

    settings = stages.read_settings("local")

    assert settings.sql_url == f"sqlite:///{folder}/counter.sqlite"
    assert settings.sql_reader_url == f"sqlite:///{folder}/other.sqlite"


@pytest.mark.parametrize("name", ["with space", "job_feature%2Fx", "50%", "a?b#c&d;e:f@g", "'\"\\[ö]", "a\nb"])
def test_sqlite_file_with_any_name_is_in_the_local_folder(configured, tmp_path, monkeypatch, name):
    configured("local", SQL_URL="sqlite:///counter.sqlite")
    (tmp_path / name).mkdir()
    monkeypatch.setenv("LOCAL_FOLDER", str(tmp_path / name))

    url = stages.read_settings("local").sql_url
    read_model.make_schema(url)

    assert (tmp_path / name / "counter.sqlite").exists()
    assert read_only.file_at(url) == tmp_path / name / "counter.sqlite"
    with sql.query(url, "SELECT count(*) FROM events", 60) as result:
        assert [*result.rows] == [(0,)]


def test_reader_url_defaults_to_sql_url(configured):
    folder = configured("local", SQL_URL="sqlite:///counter.sqlite")

    assert stages.read_settings("local").sql_reader_url == f"sqlite:///{folder}/counter.sqlite"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WRITER", "WRITERS"),
        ("Readers", "READERS"),
        ("ALLOWED_ORIGINS", "ALLOWED_ORIGIN"),
        ("COUNTER", "COUNTERS"),
        ("JWT_AUDIENCES", "JWT_AUDIENCE"),
    ],
)
def test_misspelt_setting_is_refused_in_one_line(configured, name, meant):
    """Otherwise, its default would apply, such as an API that is open to anyone."""
    configured("dev", **{name: "jwt"})

    with pytest.raises(OperatorError, match=rf"\AStage dev .*: no setting is named {name}\. Use {meant}\.\Z"):
        stages.read_settings("dev")


def test_variables_of_other_programs_are_allowed(configured):
    configured("dev", TZ="UTC", POWERTOOLS_LOG_LEVEL="INFO", SQL_OWNER_URL="", STAGE_NAME="x")

    assert stages.read_settings("dev").stage == "dev"


@pytest.mark.parametrize("make", [deploy.deploy, package.package, ci_package.package])
def test_sqlite_is_refused_on_lambda(configured, tmp_path, make):
    configured("dev", SQL_URL="sqlite:////a", COUNTERS="*")

    with pytest.raises(OperatorError, match="On Lambda, SQL_URL must name a database server"):
        make(stages.read_settings("dev"), tmp_path)


def test_package_holds_a_lock_on_its_folder(configured, tmp_path, monkeypatch):
    """A concurrent call would remove files that this one packages."""
    configured("dev", COUNTERS="*")

    def build(_, folder):
        with (folder / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder / "result"

    monkeypatch.setattr(package, "_build", build)

    assert (
        package.package(stages.read_settings("dev"), tmp_path / "new" / "work") == tmp_path / "new" / "work" / "result"
    )


def read_functions(folder):
    return json.loads((folder / ".chalice" / "config.json").read_text())["stages"]["dev"]["lambda_functions"]


def test_optional_projection_gets_a_function_that_keeps_its_own_settings(configured, tmp_path):
    configured("dev", SQL_URL="postgresql+psycopg://counter@host/counter")
    before = read_functions(tmp_path)

    stages.configure_functions(stages.read_settings("dev"))
    added = read_functions(tmp_path)

    assert added == {**before, "project_sql": {"iam_policy_file": "policies/dev/project_sql.json"}}
    file = tmp_path / ".chalice" / "config.json"
    file.write_text(file.read_text().replace("policies/dev/project_sql.json", "other.json"))
    stages.configure_functions(stages.read_settings("dev"))
    assert read_functions(tmp_path)["project_sql"] == {"iam_policy_file": "other.json"}


def test_tokens_get_a_function_with_its_own_policy(configured, tmp_path):
    configured("dev", READERS="jwt", JWT_ISSUER="https://login.example", JWT_AUDIENCE="counter")

    stages.configure_functions(stages.read_settings("dev"))

    assert read_functions(tmp_path) == {"authorize": {"iam_policy_file": "policies/dev/authorize.json"}}


def test_configuration_of_the_project_is_complete():
    """Otherwise, `provision` and `package` would change a file of a clean checkout."""
    configuration = json.loads((stages.PROJECT / ".chalice" / "config.json").read_text())

    for stage in ("local", "dev", "prod"):
        assert not stages.add_functions(configuration, stages.read_settings(stage))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be JSON with an object for each stage, got JSONDecodeError"),
        ("{}", "must be JSON with an object for each stage, got KeyError\\('stages'\\)"),
        ("[]", "must be JSON with an object for each stage"),
        ('{"stages": {"dev": []}}', "must be JSON with an object for each stage"),
        ('{"stages": {"dev": {"lambda_functions": 1}}}', "must be JSON with an object for each stage"),
        ('{"stages": {"dev": {"environment_variables": {"SHARDS": 4}}}}', "SHARDS of stage dev in .* string, got 4"),
        ('{"stages": {"dev": {"environment_variables": {"SDK": null}}}}', "SDK of stage dev in .* string, got null"),
    ],
)
def test_malformed_configuration_is_refused(configured, tmp_path, text, message):
    configured("dev")
    (tmp_path / ".chalice" / "config.json").write_text(text)

    with pytest.raises(OperatorError, match=message):
        stages.read_settings("dev")


def test_configuration_stays_whole_if_the_disk_is_full(configured, tmp_path):
    """A limit on the size of files simulates a full disk."""
    configured("dev")
    file = tmp_path / ".chalice" / "config.json"
    before = file.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            stages.add("beta", "*")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert file.read_text() == before
    assert [*file.parent.iterdir()] == [file]


def test_stage_without_optional_projections_is_not_rewritten(configured, tmp_path):
    configured("dev")
    before = (tmp_path / ".chalice" / "config.json").stat().st_mtime_ns

    stages.configure_functions(stages.read_settings("dev"))

    assert (tmp_path / ".chalice" / "config.json").stat().st_mtime_ns == before
