"""Test what derives from a projection's declaration, with a projection that exists only in these tests."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client
from samtranslator.yaml_helper import yaml_parse

import app
from chalicelib import cold_start, features, settings
from chalicelib.errors import SettingsError
from chalicelib.projections import PROJECTIONS, READ_MODEL, SQL, Projection, Table
from ops import stages
from ops.deployment import overlay, policies, template
from tests.permissions import granted

_TEMPLATE = (stages.PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")

#: The tables that each stage has.
STAGE_TABLES = re.findall(r"TableName: !Sub counter-\$\{Stage\}-([a-z-]+)", _TEMPLATE)

STAGE = "some-stage"

DAYS = Projection(
    "days-and-hours",
    "daily",
    "extras.days",
    setting="DAYS",
    tables=(
        Table(
            "days",
            keys={"counter_id": "S", "day": "N"},
            actions={"project": ("UpdateItem",), "api": ("Query", "GetItem"), "operator": ("Scan",)},
        ),
    ),
)


@pytest.fixture
def with_days(monkeypatch):
    """Return the settings of a stage with an additional projection."""
    monkeypatch.setattr(settings, "PROJECTIONS", (*PROJECTIONS, DAYS))
    return replace(settings.read({"STAGE": STAGE}), switches=frozenset({"DAYS"}))


def test_projection_is_off_until_its_setting_is_on(monkeypatch):
    monkeypatch.setattr(settings, "PROJECTIONS", (*PROJECTIONS, DAYS))
    monkeypatch.setattr(settings, "_SWITCHES", ("DAYS",))

    assert settings.read({"STAGE": "dev"}).projections == (READ_MODEL,)
    assert settings.read({"STAGE": "dev", "DAYS": "0"}).projections == (READ_MODEL,)
    assert settings.read({"STAGE": "dev", "DAYS": "1"}).projections == (READ_MODEL, DAYS)
    assert settings.read({"STAGE": "dev", "DAYS": "1", "SQL_URL": "sqlite:///file"}).projections == (
        READ_MODEL,
        SQL,
        DAYS,
    )
    with pytest.raises(SettingsError, match="DAYS must be an integer from 0 to 1, got 'yes'"):
        settings.read({"STAGE": "dev", "DAYS": "yes"})


def test_route_of_a_projection_that_is_off_is_not_found(monkeypatch):
    monkeypatch.setattr(features, "_OFF", {"badge"})
    with Client(app.app) as client:
        response = client.http.get("/counters/clicks/badge.svg")
        index = client.http.get("/").json_body

    assert (response.status_code, response.json_body["title"]) == (404, "Feature not found")
    assert "badge" not in index["links"]
    assert "counter" in index["links"]


def test_package_of_a_projection_that_is_off_is_not_a_feature():
    """The SQL projection, `extras.sql.read_model`, is off here."""
    assert not features.has("sql")


def test_names_of_projections_derive_and_do_not_collide():
    assert (DAYS.function, DAYS.prefix) == ("project_days_and_hours", "DaysAndHours")
    assert DAYS.queue(STAGE) == "counter-some-stage-days-and-hours-projection"
    assert DAYS.dead_letter_queue(STAGE) == "counter-some-stage-days-and-hours-projection-dead-letter"
    assert DAYS.describe("read model") == "daily read model"
    assert READ_MODEL.describe("projection queue") == "projection queue"
    for attribute in ("function", "prefix", "title", "name"):
        assert len({getattr(projection, attribute) for projection in PROJECTIONS}) == len(PROJECTIONS)
    assert READ_MODEL is PROJECTIONS[0]
    assert all(projection.setting for projection in PROJECTIONS[1:])


def test_function_loads_the_projector_its_module_and_its_client():
    assert cold_start.list_functions([READ_MODEL, DAYS])["app.project_days_and_hours"] == (
        "projector",
        "extras.days",
        "aws.tables",
    )


def test_functions_get_exactly_the_declared_permissions(with_days):
    without = policies.function_policies(settings.read({"STAGE": STAGE}), traced=False)

    found = policies.function_policies(with_days, traced=False)

    queue, table = f"arn:aws:sqs:*:*:{DAYS.queue(STAGE)}", "arn:aws:dynamodb:*:*:table/counter-some-stage-days"
    sent = {"sqs:GetQueueUrl", "sqs:SendMessage"}
    assert granted(found.pop("project_days_and_hours.json")) == {
        "arn:aws:logs:*:*:log-group:/aws/lambda/counter-some-stage-project_days_and_hours:*": {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        },
        queue: {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
        f"{queue}-dead-letter": sent,
        table: {"dynamodb:UpdateItem"},
    }
    assert granted(found.pop("publish.json")) == granted(without.pop("publish.json")) | {
        queue: sent,
        f"{queue}-dead-letter": sent,
    }
    assert granted(found.pop("api.json")) == granted(without.pop("api.json")) | {
        table: {"dynamodb:GetItem", "dynamodb:Query"}
    }
    assert found == without


def test_operator_may_use_the_queues_and_the_declared_actions(with_days):
    found = granted(policies.operator_policy(with_days))

    queue = f"arn:aws:sqs:*:*:{DAYS.queue(STAGE)}"
    assert "sqs:SendMessage" in found[queue]
    assert "sqs:DeleteMessage" in found[f"{queue}-dead-letter"]
    assert found["arn:aws:dynamodb:*:*:table/counter-some-stage-days"] == {"dynamodb:Scan"}


def test_statement_ids_of_a_policy_differ(with_days):
    for policy in (*policies.function_policies(with_days, traced=True).values(), policies.operator_policy(with_days)):
        ids = [statement["Sid"] for statement in policy["Statement"]]
        assert len(ids) == len(set(ids))


def test_function_is_configured_and_reports_partial_batches(with_days):
    configuration: dict[str, Any] = {"lambda_functions": {"project": {"lambda_timeout": 30}}, "stages": {STAGE: {}}}

    assert stages.add_functions(configuration, with_days)
    assert not stages.add_functions(configuration, with_days)

    assert configuration == {
        "lambda_functions": {"project": {"lambda_timeout": 30}, DAYS.function: {"lambda_timeout": 30}},
        "stages": {
            STAGE: {"lambda_functions": {DAYS.function: {"iam_policy_file": f"policies/{STAGE}/{DAYS.function}.json"}}}
        },
    }
    resource = overlay.render(replace(with_days, stage="dev"))["Resources"]["ProjectDaysAndHours"]["Properties"]
    assert resource["FunctionName"] == "counter-dev-project_days_and_hours"
    assert resource["Events"]["ProjectDaysAndHoursSqsEventSource"]["Properties"]["FunctionResponseTypes"]


def test_existing_settings_of_a_function_stay(with_days):
    of_all = {"lambda_functions": {"project": {"lambda_timeout": 30}, DAYS.function: {"lambda_memory_size": 1024}}}
    of_stage = {"lambda_functions": {DAYS.function: {"lambda_timeout": 60, "iam_policy_file": "other.json"}}}
    configuration: dict[str, Any] = {**of_all, "stages": {STAGE: of_stage}}

    assert not stages.add_functions(configuration, with_days)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Days"},
        {"name": "top_ten"},
        {"name": "not"},
        {"tables": (replace(DAYS.tables[0], keys={}),)},
        *({"tables": (replace(DAYS.tables[0], name=name),)} for name in STAGE_TABLES),
        {"tables": (replace(DAYS.tables[0], actions={"projet": ("Query",)}),)},
    ],
)
def test_declaration_that_would_collide_or_be_ignored_is_refused(change):
    assert "catalog" in STAGE_TABLES

    with pytest.raises(ValueError, match="projection"):
        replace(DAYS, **change)


def test_template_of_a_projection_has_its_tables_and_is_valid(tmp_path):
    """The size of a template does not depend on the number of projections, because each has a separate stack."""
    body = template.render_projection(DAYS)

    assert yaml_parse(body)["Resources"]["DaysTable"]["Properties"] == {
        "TableName": {"Fn::Sub": "counter-${Stage}-days"},
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "counter_id", "AttributeType": "S"},
            {"AttributeName": "day", "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": "counter_id", "KeyType": "HASH"},
            {"AttributeName": "day", "KeyType": "RANGE"},
        ],
    }
    assert len(body.encode()) < 0.2 * 51_200
    file = tmp_path / "template.yaml"
    file.write_text(body, encoding="utf-8")
    linter = Path(sys.executable).with_name("cfn-lint")
    lint = subprocess.run([linter, str(file)], capture_output=True, text=True, check=False)
    assert (lint.stdout, lint.returncode) == ("", 0)


def test_queue_of_a_projection_is_like_the_first_one():
    """Both have the same visibility timeout, number of deliveries and maximum message size."""
    data, projection = (
        yaml_parse(body)["Resources"] for body in (template.render_data(), template.render_projection(SQL))
    )

    for name in ("ProjectionQueue", "DeadLetterQueue"):
        first = data[name]["Properties"]
        other = projection[name.removeprefix("Projection")]["Properties"]
        assert json.dumps({**other, "QueueName": ""}) == json.dumps({**first, "QueueName": ""})
