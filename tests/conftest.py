"""
Fixtures for all tests. Each worker process has its own embedded AWS, with its own ports and folder.

Integration tests call the application's functions in this process, on the stage `pipeline`, which has tables and queues
but no functions. End-to-end and browser tests use HTTP on the stage `local`, which is deployed completely.
"""

from __future__ import annotations

import gc
import os
import random
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

from testkit import process_environment
from tests import warm_up
from tests.environments import environment

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from ops.local.stack import LocalSystem


# Before any test imports the application, which reads its settings once.
process_environment.enter()

# The embedded AWS would stop idle processes of functions after five minutes. On a busy machine, several cold starts at
# once take longer than the page waits for a response.
os.environ["LAMBDA_WARM_TTL_SECONDS"] = "86400"

# The duration of an example depends on the machine. On a busy machine, many take longer than Hypothesis expects.
hypothesis.settings.register_profile(
    "whatever it takes",
    hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("whatever it takes")

# A shell makes its background jobs ignore this signal, which tests send to stop the processes that they started.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Files that run first. The first four check or compare the whole log of their worker's embedded AWS, to which other
#: integration tests add thousands of events. The others take minutes, the longest first: a worker that began one of
#: them last would finish long after the others.
FIRST = [
    "tests/integration/test_permissions.py",
    "tests/integration/test_cost.py",
    "tests/integration/test_alarms.py",
    "tests/integration/test_verify.py",
    "tests/resilience/test_sql_rebuild.py",
    "tests/resilience/test_mutants.py",
    "tests/resilience/test_repair.py",
    "tests/resilience/test_crash_points.py",
    "tests/e2e/test_local_system.py",
    "tests/e2e/test_openapi.py",
    "tests/e2e/test_package.py",
    "tests/resilience/test_figures.py",
    "tests/browser/test_page.py",
    "tests/browser/test_flows.py",
    "tests/browser/test_outbox.py",
    "tests/e2e/test_extending.py",
    "tests/e2e/test_recovery.py",
    "tests/e2e/test_maintenance.py",
    "tests/integration/test_cpu_time.py",
    "tests/e2e/test_site.py",
    "tests/e2e/test_access.py",
    "tests/browser/test_details.py",
    "tests/browser/test_accessibility.py",
    "tests/e2e/test_exactly_once.py",
]


#: The number of lines from the embedded AWS's log in the report of a failure.
_LOG_LINES = 40


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Mark the cases that `make test` leaves to `make check`, before `-m` selects, and order the files for the workers.

    For a test marked `sample(number)`, `make test` runs that number of cases: the same cases in every process.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for test, of_test in cases.items():
        marker = of_test[0].get_closest_marker("sample")
        assert marker is not None
        sample = random.Random(test).sample(of_test, min(marker.args[0], len(of_test)))
        for item in of_test:
            if item in sample:  # traced, even if the test as a whole is not
                item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "no_cover"]
            else:
                item.add_marker("exhaustive")
    if hasattr(config, "workerinput"):
        order = {file: number for number, file in enumerate(FIRST)}
        items.sort(key=lambda item: order.get(item.location[0], len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the embedded AWS's log, such as a function's timeout, to the report of a failure."""
    report = yield
    if report.failed and "place" in getattr(item, "fixturenames", ()):
        log = process_environment.local_place().log
        if log.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            report.sections.append(("End of the embedded AWS's log", "\n".join(lines[-_LOG_LINES:])))
    return report


def pytest_collection_finish() -> None:
    """Exclude the modules and the collected tests from all later garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def warm_process() -> None:
    """Keep catalog reads out of the requests that tests count, delay or cut off. The catalog's own tests undo this."""
    from testkit import warm_process

    warm_process.enter()


@pytest.fixture(autouse=True)
def _restore_environment() -> Iterator[None]:
    """Undo the changes that an operators' command made to the process's environment and settings."""
    from chalicelib import settings

    before = {**os.environ}
    yield
    now = {**os.environ, "PYTEST_CURRENT_TEST": before.get("PYTEST_CURRENT_TEST", "")}
    if now != before:
        for name in now.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)
        settings.current.cache_clear()


@pytest.fixture(scope="session")
def place() -> Iterator[LocalSystem]:
    """Run the whole system, with warm functions, until the session ends."""
    from ops import stages
    from ops.local import stack

    system = process_environment.local_place()
    stack.up(system)
    warm_up.count_one(stages.addresses(system.folder)["API_URL"])
    yield system
    stack.down(system)


@pytest.fixture(scope="session")
def api_url(place: LocalSystem) -> str:
    """Return the address of the deployed API."""
    from ops import stages

    return stages.addresses(place.folder)["API_URL"]


@pytest.fixture(scope="module")
def fronts(place: LocalSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Deploy the API with all fronts, and return their addresses. Afterwards, deploy it with its usual front."""
    from tests.e2e.conftest import PROJECT, configure, copy_project

    project = copy_project(tmp_path_factory.mktemp("fronts"))
    configure(project, "local", FRONT="rest,http,url")
    deployed = _deploy(project)
    rest, http, url = deployed["Url"], *deployed["AlsoAt"].split(", ")
    yield {"rest": rest, "http": http, "url": url}
    _deploy(PROJECT)


def _deploy(project: Path) -> dict[str, str]:
    """Deploy the project's stage `local`, and wait until it counts."""
    from tests.e2e.conftest import deploy

    deployed = deploy(project, "local")
    warm_up.count_one(deployed["Url"])
    return deployed


@pytest.fixture(scope="session")
def page_url(place: LocalSystem) -> str:
    """Return the address of the page, whose origin differs from the API's."""
    from ops import stages

    return stages.addresses(place.folder)["PAGE_URL"]


@pytest.fixture(scope="session")
def stage(place: LocalSystem) -> dict[str, str]:
    """Return the outputs of a stage that has tables and queues, but no functions."""
    from chalicelib import settings
    from ops.deployment import provision

    return provision.provision(settings.current())


@pytest.fixture
def four_shards() -> Iterator[int]:
    """Set SHARDS to 4."""
    with environment(SHARDS="4"):
        yield 4


@pytest.fixture
def answers_by_message() -> Iterator[None]:
    """Enable partial batch responses: the queue redelivers only the messages that `project` names."""
    with environment(PARTIAL_BATCH_RESPONSES="1"):
        yield
