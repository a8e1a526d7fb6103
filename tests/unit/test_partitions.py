"""Partition keys of the log and the archive."""

import pytest

from chalicelib import codec
from chalicelib.aws import partitions
from chalicelib.domain.counter import PartKey
from tests.environments import environment

EVENT_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(("shards", "expected"), [("1", "clicks"), ("4", "clicks#3"), ("64", "clicks#23")])
def test_partition_names_the_part_only_with_shards(shards, expected):
    with environment(SHARDS=shards):
        partition = partitions.event_partition("clicks", EVENT_ID)

        key = partitions.parse_partition(partition)

        assert partition == expected
        assert key is not None
        assert partitions.format_partition(key) == partition
        assert codec.extract_counter_id(partition) == "clicks"


@pytest.mark.parametrize("partition", ["clicks#4", "clicks", "clicks#03", "clicks#", "#1", "a b#1"])
def test_partition_that_is_not_a_part_of_this_stage_is_not_parsed(partition):
    with environment(SHARDS="4"):
        assert partitions.parse_partition(partition) is None
        assert partitions.parse_partition("clicks#2") == PartKey("clicks", 2)
