"""Test segments that are read in parallel: if one fails, reading the others stops."""

import itertools

import pytest

from chalicelib.extras.verification.verifier import run_in_parallel

MANY = 10_000_000


def test_run_in_parallel_passes_each_batch_and_its_size():
    worked: list[int] = []
    advanced: list[int] = []

    run_in_parallel(worked.extend, [lambda: [[1, 2], []], lambda: [[3]]], advanced.append)

    assert sorted(worked) == [1, 2, 3]
    assert sorted(advanced) == [1, 2]


def test_run_in_parallel_stops_all_segments_when_one_is_interrupted():
    read = itertools.count()

    def segment():
        for _ in range(MANY):
            next(read)
            yield [1]

    def interrupted():
        yield [1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_parallel(lambda _: None, [interrupted, segment], lambda _: None)

    assert next(read) < MANY
