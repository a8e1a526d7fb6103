"""The comparison of tables with their templates."""

import pytest

from ops.deployment import resources

WANTED = {
    "KeySchema": [
        {"AttributeName": "partition", "KeyType": "HASH"},
        {"AttributeName": "event_id", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "partition", "AttributeType": "S"},
        {"AttributeName": "event_id", "AttributeType": "S"},
    ],
}


def replace_types(**types):
    definitions = [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]
    return WANTED | {"AttributeDefinitions": definitions}


@pytest.mark.parametrize(
    ("table", "is_wanted"),
    [
        (WANTED, True),
        ({name: elements[::-1] for name, elements in WANTED.items()}, True),
        (replace_types(partition="S", event_id="S", of_an_index="N"), True),
        (replace_types(partition="S", event_id="N"), False),
        (WANTED | {"KeySchema": WANTED["KeySchema"][:1]}, False),
        (WANTED | {"KeySchema": [*WANTED["KeySchema"][:1], {"AttributeName": "other", "KeyType": "RANGE"}]}, False),
    ],
)
def test_table_with_the_key_of_its_template_may_have_indexes(table, is_wanted):
    assert resources.has_key(table, WANTED) is is_wanted


@pytest.mark.parametrize(
    ("table", "is_kept"),
    [
        ({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}}, True),
        ({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}, True),
        ({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"}}, False),
        ({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}}, False),
        ({}, False),
    ],
)
def test_stream_with_more_images_than_its_template_is_kept(table, is_kept):
    """DynamoDB cannot change the view of a stream, and a new stream lacks the records that are not published yet."""
    assert resources.has_images(table, "NEW_IMAGE") is is_kept
