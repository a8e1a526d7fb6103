"""Each mutant is caught by the test that is named for it."""

from concurrent.futures import Future

import pytest

from tests.resilience.mutants import MUTANTS, TABLE, run_mutants, table


@pytest.fixture(scope="session")
def caught(request: pytest.FixtureRequest) -> dict[str, Future[bool]]:
    """Return, for each mutant that this run selects, whether it is caught, as results arrive."""
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return run_mutants([asked["mutant"] for asked in parameters if "mutant" in asked])


@pytest.mark.sample(3)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(caught, mutant):
    assert caught[mutant].result(), f"{MUTANTS[mutant].mistake}: {MUTANTS[mutant].catcher} passes all the same"


def test_docs_table_lists_the_mutants():
    assert TABLE.read_text(encoding="utf-8") == table()
