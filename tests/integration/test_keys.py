"""Add, list and remove API keys of the deployed stage."""

from dataclasses import replace

import boto3
import pytest

from chalicelib import settings
from ops.cli.errors import OperatorError
from ops.deployment import destroy, keys

LOCAL = settings.read({"STAGE": "local"})


@pytest.fixture(autouse=True)
def _remove_keys(place):
    """Run the whole system, and remove the keys that a test added."""
    yield
    keys.remove_all(LOCAL)


def list_keys():
    return {key["name"]: key for key in keys.list_keys(LOCAL).facts["keys"]}


def test_key_is_listed_with_its_limits_and_without_its_secret():
    before = keys.list_keys(LOCAL)

    added = keys.add(LOCAL, "shop", rate=10, burst=20, quota=1000, period="month")

    listed = keys.list_keys(LOCAL)
    (key,) = listed.facts["keys"]
    assert before.facts == {"keys": []}
    assert before.text == "Stage local has no API keys."
    assert key.items() >= {"name": "shop", "rate": 10, "burst": 20, "quota": 1000, "period": "month"}.items()
    assert key["id"] == added.facts["id"]
    assert f"shop  {key['id']}  10    20     1000   month" in listed.text
    assert added.facts["key"] in added.text
    assert added.facts["key"] not in listed.text + str(listed.facts)


def test_existing_key_is_refused_with_the_way_out():
    keys.add(LOCAL, "shop")
    before = list_keys()

    with pytest.raises(OperatorError, match=r"remove it first: python -m ops keys remove shop --stage local\."):
        keys.add(LOCAL, "shop", rate=1)

    assert list_keys() == before


def test_interrupted_key_is_replaced():
    """The plan and the key exist, but the key is not in the plan: API Gateway does not accept it."""
    client, name = boto3.client("apigateway"), "counter-local.shop"
    client.create_usage_plan(name=name, apiStages=[{"apiId": keys.find_api("local"), "stage": "api"}])
    client.create_api_key(name=name, enabled=True)

    added = keys.add(LOCAL, "shop")

    assert [key["id"] for key in list_keys().values()] == [added.facts["id"]]
    assert len(keys.list_resources(LOCAL)) == 2


def test_removal_is_safe_to_repeat():
    keys.add(LOCAL, "shop")
    keys.add(LOCAL, "shop.2")

    removed = [keys.remove(LOCAL, "shop").facts["removed"] for _ in range(2)]

    assert removed == [True, False]
    assert list(list_keys()) == ["shop.2"]
    assert keys.list_resources(LOCAL) == [
        ("AWS::ApiGateway::ApiKey", "counter-local.shop.2"),
        ("AWS::ApiGateway::UsagePlan", "counter-local.shop.2"),
    ]


def test_stage_does_not_list_keys_of_a_stage_with_a_longer_name():
    other = replace(LOCAL, stage="local-two")

    keys.add(LOCAL, "shop")

    assert keys.remove_all(other) == []
    assert list(list_keys()) == ["shop"]


def test_key_without_an_api_is_refused_with_the_way_out():
    with pytest.raises(OperatorError, match="The API of stage none is not deployed: run `python -m ops deploy"):
        keys.add(replace(LOCAL, stage="none"), "shop")


def test_preview_of_destroy_lists_keys_and_usage_plans():
    keys.add(LOCAL, "shop")

    listed = destroy.preview(LOCAL, data=False).text

    assert "AWS::ApiGateway::ApiKey counter-local.shop" in listed
    assert "AWS::ApiGateway::UsagePlan counter-local.shop" in listed
