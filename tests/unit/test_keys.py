"""The options of `ops keys`, and the limits that they set."""

import pytest
from click.testing import CliRunner

from ops.__main__ import main
from ops.cli import command
from ops.cli.access import keys_command
from ops.deployment.keys import describe_limits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add"], "add and remove require NAME"),
        (["remove"], "add and remove require NAME"),
        (["list", "shop"], "list takes no NAME"),
        (["remove", "shop", "--rate", "1"], "require add"),
        (["--quota", "5"], "require add"),
        (["add", "shop", "--burst", "5"], "--burst requires --rate."),
        (["add", "shop", "--period", "day"], "--period requires --quota."),
        (["add", "shop", "--rate", "0"], "--rate"),
        (["add", "shop", "--rate", "0.5"], "--rate"),
        (["add", "shop", "--quota", "0"], "--quota"),
        (["add", "shop", "--quota", "1", "--period", "year"], "--period"),
        (["replace", "shop"], "list"),
    ],
)
def test_malformed_options_are_usage_errors(monkeypatch, arguments, message):
    monkeypatch.setattr(command, "_check_target", lambda _stage: None)

    result = CliRunner().invoke(keys_command, [*arguments, "--stage", "dev"])

    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ä"])
def test_malformed_name_is_refused(name):
    from chalicelib import settings
    from ops.cli.errors import InputError
    from ops.deployment import keys

    with pytest.raises(InputError, match="NAME must be 1 to 64 characters of"):
        keys.remove(settings.read({"STAGE": "dev"}), name)


def test_keys_is_a_command():
    assert "keys" in main.commands


@pytest.mark.parametrize(
    ("limits", "described"),
    [
        ([None, None, None, None], {}),
        ([2, None, None, None], {"throttle": {"rateLimit": 2, "burstLimit": 2}}),
        ([10, 50, None, None], {"throttle": {"rateLimit": 10, "burstLimit": 50}}),
        ([None, None, 7, None], {"quota": {"limit": 7, "period": "DAY"}}),
        ([None, None, 7, "month"], {"quota": {"limit": 7, "period": "MONTH"}}),
    ],
)
def test_limits_have_the_values_of_the_options(limits, described):
    assert describe_limits(*limits) == described
