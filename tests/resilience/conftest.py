"""The pipeline on the in-process engine, and the databases of the SQL read model."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib import retries
from testkit import faults
from testkit.engine import Engine
from tests import databases
from tests.databases import Database, Guard, PostgreSQL
from tests.environments import sql_environment
from tests.pipeline import Pipeline
from tests.resilience.invariant import Watcher


@pytest.fixture(scope="module")
def module_engine() -> Iterator[Engine]:
    """Create one engine for all tests of a file. Each test has its own counters."""
    engine = Engine()
    yield engine
    engine.remove_tables_and_queues()


@pytest.fixture
def engine(module_engine: Engine) -> Iterator[Engine]:
    """Serve the application's clients during the test. Faults that the test injects end with it."""
    with module_engine.serve_clients():
        yield module_engine
    module_engine.gate = faults.no_fault


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry conflicts without a wait, because the test, and not the clock, decides the order of the workers."""
    monkeypatch.setattr(retries, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(retries, "_PAUSE_S", 0.0)


@pytest.fixture
def new_pipeline(engine: Engine) -> Callable[[int], Pipeline]:
    """Create a pipeline with its own counter and a seeded random generator."""
    return lambda seed: make_pipeline(engine, seed)


@pytest.fixture
def pipeline(new_pipeline: Callable[[int], Pipeline]) -> Pipeline:
    """Create a pipeline with its own counter."""
    return new_pipeline(1)


@pytest.fixture
def watcher(pipeline: Pipeline) -> Watcher:
    """Create a watcher of the pipeline's counter."""
    return Watcher(pipeline.client, pipeline.counter_id)


def make_pipeline(engine: Engine, seed: int) -> Pipeline:
    """Create a pipeline on the engine."""
    return Pipeline(
        engine.outputs["ProjectionQueueUrl"],
        engine.outputs["DeadLetterQueueUrl"],
        engine.outputs["EventLogStreamArn"],
        random.Random(seed),
        client=engine.client,
    )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL server until the session ends."""
    programs = databases.binaries()
    if programs is None:
        assert "CI" not in os.environ, "there is no PostgreSQL"
        pytest.skip("there is no PostgreSQL: neither Debian's, nor on the path, nor the wheel of pgserver")
    with databases.run_postgresql(programs) as server:
        yield server


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Refuse the statements that Aurora DSQL refuses."""
    with Guard().install() as installed:
        yield installed


@pytest.fixture(scope="session")
def a_postgresql_database(postgresql: PostgreSQL) -> Database:
    """Create a PostgreSQL database with the schema."""
    return add_schema(databases.postgresql_database(postgresql, "counter"))


@pytest.fixture(scope="session")
def a_dsql_database(postgresql: PostgreSQL) -> Database:
    """Create a database like Aurora DSQL's with the schema, under the guard of the first test."""
    return add_schema(databases.dsql_database(postgresql, databases.TlsProxy(postgresql), "counter_like_dsql"))


@pytest.fixture(params=["sqlite", "postgresql", "auroradsql"])
def database(request: pytest.FixtureRequest, guard: Guard, tmp_path: Path) -> Iterator[Database]:
    """Turn on an empty SQL read model, once for each kind of database."""
    if request.param == "sqlite":
        emptied = add_schema(databases.sqlite_database(tmp_path / "read-model.sqlite"))
    else:
        emptied = request.getfixturevalue(f"a_{request.param.removeprefix('aurora')}_database")
        emptied.ask("DELETE FROM events")
        emptied.ask("DELETE FROM counters")
    with sql_environment(emptied.url):
        yield emptied


def add_schema(made: Database) -> Database:
    """Create the tables and views."""
    from chalicelib.extras.sql import read_model

    read_model.make_schema(made.url)
    return made
