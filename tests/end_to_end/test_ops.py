"""The operators' program on the embedded AWS: what it does again is safe, what it refuses it says in one line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ops import deploy, provision, stages
from ops.__main__ import main
from ops.errors import OperatorError


def ops(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_every_command_explains_itself():
    listed = ops("--help")

    for name in main.commands:
        assert name in listed.stdout
        assert ops(name, "--help").stdout.startswith("Usage:")


def test_provisioning_and_deploying_again_is_safe(place, api_url, client, counter_id):
    client.increment(counter_id, 3, If_Match='"0"')

    provisioned = ops("provision", "--stage", "local", "--json")
    deployed = ops("deploy", "--stage", "local", "--json")

    assert (provisioned.exit_code, deployed.exit_code) == (0, 0)
    assert json.loads(provisioned.stdout)["EventLogStreamArn"].startswith("arn:aws:dynamodb:")
    assert json.loads(deployed.stdout)["ApiId"] in api_url
    assert client.counter(counter_id)["value"] == 3


def test_a_stage_that_is_not_configured_is_refused_by_name():
    refused = ops("provision", "--stage", "nowhere")

    assert refused.exit_code == 1
    assert refused.stderr == "Error: There is no stage 'nowhere' in .chalice/config.json; there are: local.\n"


def test_the_number_of_shards_of_a_stage_cannot_be_changed(stage, four_shards):
    from chalicelib import settings

    with pytest.raises(OperatorError, match="made with SHARDS=1, and now SHARDS=4"):
        provision.provision(settings.current())


def test_functions_with_another_number_of_shards_are_not_deployed(stage, four_shards, tmp_path):
    from chalicelib import settings

    with pytest.raises(OperatorError, match="made with SHARDS=1, and now SHARDS=4"):
        deploy.deploy(settings.current(), tmp_path)


def test_the_local_stage_is_what_the_configuration_says():
    assert stages.settings_of("local").stage == "local"
