"""The proof has teeth: each known mistake is caught by the test that is named for it."""

from __future__ import annotations

import pytest

from tests.proof.mutants import MUTANTS, TABLE, is_caught, table


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_caught(name):
    assert is_caught(name), f"{MUTANTS[name].mistake}: {MUTANTS[name].catcher} passes all the same"


def test_the_table_in_the_docs_is_the_list():
    assert TABLE.read_text(encoding="utf-8") == table()
