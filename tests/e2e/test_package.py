"""Test that the deployed package is small and reproducible, fits the functions' processor, and has its bytecode."""

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chalicelib import cold_start
from chalicelib.projections import READ_MODEL
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import package as packaging
from ops.deployment import zip_package
from tests.doc_pages import section
from tests.e2e.conftest import configure, copy_project, eventually, make_environment, ops

pytestmark = pytest.mark.exhaustive

PROJECT = Path(__file__).parent.parent.parent
MOST_BYTES = 1_500_000

#: The handlers of the functions of a stage without optional projections.
FUNCTIONS = tuple(cold_start.list_functions([READ_MODEL]))


def packaged(folder, sql_url="", **changed):
    addresses = {"sql_url": sql_url, "sql_reader_url": sql_url}
    return packaging.package(dataclasses.replace(stages.read_settings("local"), **addresses, **changed), folder)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return packaged(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def archive(package):
    with zipfile.ZipFile(package / "deployment.zip") as opened:
        yield opened


@pytest.fixture(scope="module")
def functions(package):
    resources = json.loads((package / "sam.json").read_text())["Resources"].values()
    return [one["Properties"] for one in resources if one["Type"] == "AWS::Serverless::Function"]


def versions(archive):
    """Return the installed versions by name."""
    found = re.findall(r"^(\w+)-([\w.]+)\.dist-info/METADATA$", "\n".join(archive.namelist()), re.MULTILINE)
    return {name.replace("_", "-"): version for name, version in found}


def pins(file):
    """Return the pinned versions by name."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT / file).read_text(), re.MULTILINE))


def test_package_is_small_and_omits_the_packages_of_the_runtime(package, archive):
    assert (package / "deployment.zip").stat().st_size <= MOST_BYTES
    assert versions(archive) == pins("requirements.txt")


def test_package_has_every_module_of_the_application(archive):
    """Chalice packages `chalicelib` with its folders. Modules for SQL are packaged only with `SQL_URL`."""
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "chalicelib").rglob("*.py")}
    with_sql = {module for module in modules if "sql" in Path(module).parts}

    packaged = {name for name in archive.namelist() if name.startswith("chalicelib/") and name.endswith(".py")}

    assert packaged == modules - with_sql
    folders = {"domain", "read_model", "aws", "access", "extras"}
    assert folders <= {name.split("/")[1] for name in packaged if name.count("/") > 1}


def test_package_is_pure_python_and_functions_run_on_arm64(archive, functions):
    wheels = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]

    assert len(wheels) == len(versions(archive))
    assert all(re.findall(r"^Tag: \S+-(\S+-\S+)$", wheel, re.MULTILINE)[0] == "none-any" for wheel in wheels)
    assert {(function["Handler"], *function["Architectures"]) for function in functions} == {
        (function, "arm64") for function in FUNCTIONS
    }


def test_package_without_sql_has_no_sql_modules(archive, functions):
    assert not [name for name in archive.namelist() if "sql" in name.lower()]
    assert not [
        function
        for function in functions
        if {"SQL_URL", "SQL_READER_URL"} & function["Environment"]["Variables"].keys()
    ]


@pytest.mark.parametrize(
    ("sql_url", "more"),
    [
        ("sqlite:////some/file", {"sqlalchemy"}),
        ("postgresql+psycopg://counter@host/counter", {"sqlalchemy", "psycopg", "psycopg-binary"}),
        (
            "auroradsql+psycopg://counter@abc.dsql.eu-west-1.on.aws/postgres",
            {name.lower() for name in pins("requirements/sql.txt")},
        ),
    ],
)
def test_sql_driver_is_packaged_for_the_functions_processor(tmp_path, sql_url, more):
    package = packaged(tmp_path, sql_url=sql_url)

    with zipfile.ZipFile(package / "deployment.zip") as archive:
        found = {name.lower(): version for name, version in versions(archive).items()}
        libraries = [name for name in archive.namelist() if re.search(r"\.so(\.[0-9]+)*$", name)]
    wanted = {
        name.lower(): version for name, version in (pins("requirements.txt") | pins("requirements/sql.txt")).items()
    }
    resources = json.loads((package / "sam.json").read_text())["Resources"]
    function = resources["ProjectSql"]["Properties"]
    assert found == {name: wanted[name] for name in {*pins("requirements.txt"), *more}}
    assert bool(libraries) is ("psycopg-binary" in more)
    assert all("aarch64" in name for name in libraries if "cpython" in name)
    assert (function["Handler"], function["FunctionName"]) == ("app.project_sql", "counter-local-project_sql")
    assert function["Environment"]["Variables"]["SQL_URL"] == sql_url
    assert "SQL_READER_URL" not in function["Environment"]["Variables"]
    assert function["Environment"]["Variables"]["PARTIAL_BATCH_RESPONSES"] == "1"
    assert function["Events"]["ProjectSqlSqsEventSource"]["Properties"]["FunctionResponseTypes"] == [
        "ReportBatchItemFailures"
    ]


def test_authorizer_is_packaged_for_the_functions_processor(tmp_path):
    project = copy_project(tmp_path / "project")
    variables = {"WRITERS": "jwt", "JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "counter"}
    configure(project, "dev", COUNTERS="*", **variables)

    done = ops("package", "--stage", "dev", str(tmp_path / "build"), at=project)

    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "build" / "deployment.zip") as archive:
        names = archive.namelist()
        found = {name.lower(): version for name, version in versions(archive).items()}
        wheel = archive.read(next(name for name in names if re.match(r"cryptography-.*/WHEEL", name))).decode()
    resources = json.loads((tmp_path / "build" / "sam.json").read_text())["Resources"]
    function, methods = (
        resources["Authorize"]["Properties"],
        resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"],
    )
    assert found == pins("requirements.txt") | pins("requirements/jwt.txt")
    assert "manylinux2014_aarch64" in wheel
    assert "_cffi_backend.cpython-311-aarch64-linux-gnu.so" in names
    for module in ("jwt/algorithms", "cryptography/hazmat/primitives/asymmetric/rsa", "chalicelib/access/tokens"):
        folder, _, name = module.rpartition("/")
        assert [one for one in names if one.startswith(f"{folder}/__pycache__/{name}.")], module
    assert (function["Handler"], function["FunctionName"]) == ("app.authorize", "counter-dev-authorize")
    assert function["Environment"]["Variables"].items() >= variables.items()
    assert methods["/counters/{counter_id}/increments"]["post"]["security"] == [{"authorize": []}]
    assert "security" not in methods["/counters/{counter_id}"]["get"]
    policies = json.loads((project / ".chalice" / "config.json").read_text())["stages"]["dev"]["lambda_functions"]
    assert policies["authorize"] == {"iam_policy_file": "policies/dev/authorize.json"}


def test_event_source_settings_are_in_the_template(functions, tmp_path):
    checkout = copy_project(tmp_path / "checkout")
    config = checkout / ".chalice" / "config.json"
    content = json.loads(config.read_text())
    content["stages"]["dev"] = json.loads(json.dumps(content["stages"]["local"]).replace("/local/", "/dev/"))
    content["stages"]["dev"]["environment_variables"] |= {
        "STAGE": "dev",
        "COUNTERS": "*",
        "SQL_URL": "postgresql+psycopg://counter@host/counter",
        "PROJECTORS": "5",
        "BATCHING_WINDOW_S": "7",
    }
    config.write_text(json.dumps(content))

    done = ops("package", "--stage", "dev", str(tmp_path / "build"), at=checkout)

    assert done.returncode == 0, done.stderr
    resources = json.loads((tmp_path / "build" / "sam.json").read_text())["Resources"]
    sources = {
        name: source["Properties"]
        for function in ("Publish", "Project", "ProjectSql")
        for name, source in resources[function]["Properties"]["Events"].items()
    }
    unsaid = [source["Properties"] for one in functions for source in one.get("Events", {}).values()]
    assert sources["ProjectSqsEventSource"]["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert sources["ProjectSqlSqsEventSource"]["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert [source.get("MaximumBatchingWindowInSeconds") for source in sources.values()].count(7) == 1
    assert not [source for source in unsaid if "ScalingConfig" in source]


def test_stage_set_up_as_documented_has_separate_sql_credentials(tmp_path, monkeypatch):
    project = copy_project(tmp_path / "project")
    (example,) = re.findall(
        r"The settings of a stage with SQL:\n\n```json\n(.+?)\n```", section("Enable SQL"), re.DOTALL
    )
    of_dev = json.loads(f"{{{example}}}")["dev"]
    config = json.loads((project / ".chalice" / "config.json").read_text())
    config["stages"]["dev"]["environment_variables"] |= {**of_dev["environment_variables"], "COUNTERS": "*"}
    config["stages"]["dev"]["lambda_functions"] |= of_dev["lambda_functions"]
    (project / ".chalice" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(stages, "PROJECT", project)

    package = packaging.package(stages.read_settings("dev"), tmp_path / "package")

    resources = json.loads((package / "sam.json").read_text())["Resources"]
    variables = {
        name: one["Properties"]["Environment"]["Variables"]
        for name, one in resources.items()
        if one["Type"] == "AWS::Serverless::Function"
    }
    passwords = {name: of["PGPASSWORD"].rpartition(":")[2] for name, of in variables.items() if "PGPASSWORD" in of}
    assert passwords == {"APIHandler": "reader}}", "ProjectSql": "password}}"}
    assert variables["APIHandler"]["SQL_READER_URL"] == "postgresql+psycopg://reader@db.example/counter"
    assert variables["ProjectSql"]["SQL_URL"] == "postgresql+psycopg://counter@db.example/counter"


def test_package_is_reproducible(package, tmp_path):
    again = packaged(tmp_path)

    assert (again / "deployment.zip").read_bytes() == (package / "deployment.zip").read_bytes()


def test_bytecode_matches_its_source(archive):
    compiled = [name for name in archive.namelist() if name.endswith(".pyc")]

    assert compiled
    for name in compiled:
        source = importlib.util.source_from_cache(name)
        head = archive.read(name)[:16]
        # PEP 552: the magic number, the flags (1: by hash, and never checked), and the hash.
        assert head == importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + importlib.util.source_hash(archive.read(source))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_loaded_module_is_packaged_as_bytecode(archive, function, tmp_path):
    archive.extractall(tmp_path)
    program = """
import os, sys, app
ours = [module for module in sys.modules.values() if (getattr(module, "__file__", "") or "").startswith(os.getcwd())]
print(len(ours), [module.__name__ for module in ours if not os.path.exists(module.__cached__)])
"""

    output = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "STAGE": "local", "_HANDLER": function},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    number, uncompiled = output.split(maxsplit=1)
    assert int(number) > 40
    assert uncompiled == "[]\n"


def test_handler_of_other_fronts_is_packaged_as_bytecode(tmp_path):
    with zipfile.ZipFile(packaged(tmp_path, front=("url",)) / "deployment.zip") as archive:
        compiled = [importlib.util.source_from_cache(name) for name in archive.namelist() if name.endswith(".pyc")]

    assert "chalicelib/api/payload_v2.py" in compiled


def test_package_with_own_sdk_has_the_tested_versions(tmp_path):
    package = packaged(tmp_path, sdk="package")

    with zipfile.ZipFile(package / "deployment.zip") as archive:
        found = versions(archive)
    tested = pins("requirements/dev.txt")
    assert {"boto3", "botocore", "jmespath", "s3transfer", "urllib3"} <= found.keys()
    assert found == {name: tested[name] for name in found}


@pytest.mark.parametrize("others_are_quicker", [True, False])
def test_concurrent_downloads_are_neither_mixed_nor_missed(tmp_path, monkeypatch, others_are_quicker):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"pynamodb==6.1.0 --hash=sha256:{hashlib.sha256(b'ours').hexdigest()}\n")
    shutil.copytree(PROJECT / "requirements", tmp_path / "requirements")
    own = []

    def download(command, *_):
        folder = Path(command[command.index("-d") + 1])
        (folder / "one.whl").write_text("ours")
        own.append(folder)
        if others_are_quicker and len(own) == 1:
            packaging.pip_variables(requirements, settings)

    settings = dataclasses.replace(stages.read_settings("local"), sql_url="", sql_reader_url="")
    monkeypatch.setattr(stages, "PROJECT", tmp_path)
    monkeypatch.setattr(zip_package, "run", download)

    variables = packaging.pip_variables(requirements, settings)

    (folder,) = (tmp_path / ".local").iterdir()
    assert variables["PIP_FIND_LINKS"] == folder.as_uri()
    assert [wheel.name for wheel in folder.iterdir()] == ["one.whl"]
    assert len({*own}) == 1 + others_are_quicker


@pytest.mark.parametrize("correct", [True, False])
def test_package_downloads_only_files_with_the_required_hash(tmp_path, monkeypatch, correct):
    """The path of the project has a space, at which pip would split a variable, and characters that URLs encode."""
    project = tmp_path / "my project%2F #?&[é]"
    project.mkdir()
    shutil.copytree(PROJECT / "requirements", project / "requirements")
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    digest = hashlib.sha256(wheel.read_bytes() if correct else b"").hexdigest()
    requirements = project / "requirements.txt"
    requirements.write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    settings = dataclasses.replace(stages.read_settings("local"), sql_url="", sql_reader_url="")
    monkeypatch.setattr(stages, "PROJECT", project)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    if not correct:
        with pytest.raises(OperatorError, match="DO NOT MATCH THE HASHES"):
            packaging.pip_variables(requirements, settings)
        assert not [*(project / ".local").iterdir()]
        return

    variables = packaging.pip_variables(requirements, settings)
    wheel.unlink()
    download = [sys.executable, "-m", "pip", "download", "-r", requirements, "-d", tmp_path / "downloads"]
    subprocess.run(download, env={**os.environ, **variables}, check=True, capture_output=True)
    assert [file.name for file in (tmp_path / "downloads").iterdir()] == [wheel.name]


def test_next_packaging_removes_the_files_of_a_killed_one(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "local" / "package-prod"
    shared.mkdir()
    command = [sys.executable, "-m", "ops", "package", "--stage", "prod", str(tmp_path / "build")]
    environment = make_environment({"TMPDIR": str(shared), "LOCAL_FOLDER": str(tmp_path / "local")})
    project = copy_project(tmp_path / "project")
    config = project / ".chalice" / "config.json"
    config.write_text(config.read_text().replace('"STAGE": "prod",', '"STAGE": "prod", "COUNTERS": "*",'))

    with subprocess.Popen(command, cwd=project, env=environment, start_new_session=True) as killed:
        eventually(lambda: any((own / "tmp").glob("*")))
        os.killpg(killed.pid, signal.SIGKILL)
    left = [*shared.iterdir()]
    again = subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)

    assert (left, [*shared.iterdir()], [*(own / "tmp").iterdir()]) == ([], [], [])
    assert again.stdout


def test_downloaded_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"tiny==1.0 --hash=sha256:{hashlib.sha256(b'right').hexdigest()}\n")
    shutil.copytree(PROJECT / "requirements", tmp_path / "requirements")

    def download(command, *_):
        (Path(command[command.index("-d") + 1]) / "tiny.whl").write_text("right")

    settings = dataclasses.replace(stages.read_settings("local"), sql_url="", sql_reader_url="")
    monkeypatch.setattr(stages, "PROJECT", tmp_path)
    monkeypatch.setattr(zip_package, "run", download)
    packaging.pip_variables(requirements, settings)
    (wheel,) = (tmp_path / ".local").glob("*/tiny.whl")
    wheel.write_text("wrong")

    with pytest.raises(OperatorError, match=rf"{wheel} differs from its hash in the requirements"):
        packaging.pip_variables(requirements, settings)
