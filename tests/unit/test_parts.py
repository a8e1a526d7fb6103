"""Parallel reads of the log's parts stop if one fails."""

from __future__ import annotations

import itertools

import pytest

from ops.maintenance import parallel

MANY = 10_000_000


def test_each_part_is_processed_and_reported():
    told: list[int] = []

    def work(part, advance):
        for one in part:
            advance(one)

    parallel.each([[1, 2], [3]], work, told.append)

    assert sorted(told) == [1, 2, 3]


def test_other_parts_stop_at_their_next_report_after_a_failure():
    read = itertools.count()

    def work(part, advance):
        for _ in part:
            next(read)
            advance(1)

    def interrupted():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel.each([interrupted(), iter(range(MANY))], work, lambda _: None)

    assert next(read) < MANY
