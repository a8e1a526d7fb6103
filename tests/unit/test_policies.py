"""The policies grant exactly the needed permissions."""

import json
import shutil

import pytest

from chalicelib import settings
from chalicelib.errors import SettingsError
from ops import stages
from ops.deployment import overlay, policies
from ops.stages import PROJECT
from tests.permissions import (
    CONNECT,
    FUNCTIONS,
    NEEDED,
    NEEDED_FOR_SQL,
    QUEUES,
    TABLES,
    arn,
    function_name,
    granted,
    of,
)

STAGE = "some-stage"
EVERYBODY = sorted(NEEDED)


def of_stage(sql_url="", sql_reader_url=""):
    return settings.read({"STAGE": STAGE, "SQL_URL": sql_url, "SQL_READER_URL": sql_reader_url})


def needed(who):
    found = {
        arn(resource, STAGE): {f"{'sqs' if resource in QUEUES else 'dynamodb'}:{action}" for action in actions}
        for resource, actions in NEEDED.get(who, {}).items()
    }
    if who == "operator":
        found[f"arn:aws:cloudformation:*:*:stack/counter-{STAGE}-data/*"] = {"cloudformation:DescribeStacks"}
    else:
        group = f"arn:aws:logs:*:*:log-group:/aws/lambda/{function_name(who, STAGE)}:*"
        found[group] = {"logs:CreateLogStream", "logs:PutLogEvents"}
    return found


def test_there_is_a_policy_for_each_function():
    assert policies.function_policies(of_stage(), traced=False).keys() == {f"{function}.json" for function in FUNCTIONS}


@pytest.mark.parametrize("setting", ["WRITERS", "READERS"])
def test_tokens_add_a_function_that_may_only_write_its_log(setting):
    issuer = {"JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "counter"}
    found = policies.function_policies(settings.read({"STAGE": STAGE, setting: "jwt", **issuer}), traced=False)

    own = found.pop("authorize.json")

    assert granted(own) == needed("authorize")
    assert found == policies.function_policies(of_stage(), traced=False)


@pytest.mark.parametrize("who", EVERYBODY)
def test_policy_allows_exactly_the_needed_actions_on_named_resources(who):
    assert granted(of(who, STAGE)) == needed(who)


CLUSTER = "abc123.dsql.eu-west-1.on.aws/postgres"


#: The permissions to connect to each kind of database.
CONNECTING = [
    ("sqlite:////some/file", {}),
    ("postgresql+psycopg://counter@host/counter", {}),
    (f"auroradsql+psycopg://counter@{CLUSTER}", {"arn:aws:dsql:eu-west-1:*:cluster/abc123": {"dsql:DbConnect"}}),
    (f"auroradsql+psycopg://admin@{CLUSTER}", {"arn:aws:dsql:eu-west-1:*:cluster/abc123": {"dsql:DbConnectAdmin"}}),
]


@pytest.mark.parametrize(("sql_url", "connecting"), CONNECTING)
def test_sql_adds_a_function_that_publish_sends_to(sql_url, connecting):
    without = policies.function_policies(of_stage(), traced=False)

    found = policies.function_policies(of_stage(sql_url), traced=False)

    for who in {*NEEDED_FOR_SQL, *CONNECT} - {"operator"}:
        log = f"arn:aws:logs:*:*:log-group:/aws/lambda/{function_name(who, STAGE)}:*"
        before = granted(without[f"{who}.json"]) if f"{who}.json" in without else {}
        more = NEEDED_FOR_SQL.get(who, {})
        added = {arn(resource, STAGE): {f"sqs:{action}" for action in actions} for resource, actions in more.items()}
        assert granted(found.pop(f"{who}.json")) == before | added | (connecting if who in CONNECT else {}) | {
            log: {"logs:CreateLogStream", "logs:PutLogEvents"}
        }
    assert found == {name: policy for name, policy in without.items() if name in found}


@pytest.mark.parametrize("who", CONNECT)
def test_connections_are_allowed_only_to_the_configured_cluster(who, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"stages": {STAGE: {}}}), encoding="utf-8")
    urls = {
        "sql_url": "auroradsql+psycopg://admin@writer.dsql.eu-west-1.on.aws/postgres",
        "sql_reader_url": "auroradsql+psycopg://reader@reader.dsql.eu-north-1.on.aws/postgres",
    }
    variables = {name.upper(): url for name, url in urls.items()}

    policies.write(settings.read({"STAGE": STAGE, **variables}), tmp_path)

    found = granted(json.loads((tmp_path / "policies" / STAGE / f"{who}.json").read_text(encoding="utf-8")))
    assert {resource: actions for resource, actions in found.items() if ":dsql:" in resource} == (
        {"arn:aws:dsql:eu-west-1:*:cluster/writer": {"dsql:DbConnectAdmin"}}
        if CONNECT[who] == "sql_url"
        else {"arn:aws:dsql:eu-north-1:*:cluster/reader": {"dsql:DbConnect"}}
    )


@pytest.mark.parametrize(("sql_url", "connecting"), CONNECTING)
def test_operators_policy_with_sql_covers_its_queues_and_the_database(sql_url, connecting):
    added = {
        arn(resource, STAGE): {f"sqs:{action}" for action in actions}
        for resource, actions in NEEDED_FOR_SQL["operator"].items()
    }

    assert granted(of("operator", STAGE, sql_url)) == needed("operator") | added | connecting


@pytest.mark.parametrize("name", ["WRITERS", "READERS"])
def test_operators_policy_covers_keys_if_the_stage_checks_them(name):
    with_keys = policies.operator_policy(settings.read({"STAGE": STAGE, name: "api-key"}))

    added = granted(with_keys)
    for resource in granted(of("operator", STAGE)):
        added.pop(resource)
    assert {action for actions in added.values() for action in actions} == {
        "lambda:GetPolicy",
        *(f"apigateway:{method}" for method in ("GET", "POST", "PATCH", "DELETE")),
    }
    assert f"arn:aws:lambda:*:*:function:counter-{STAGE}" in added
    assert all("restapis" not in resource for resource in added)


def test_operator_may_connect_as_a_separate_reader():
    writer, reader = (f"auroradsql+psycopg://{who}@{CLUSTER}" for who in ("admin", "reader"))
    cluster = "arn:aws:dsql:eu-west-1:*:cluster/abc123"

    both = policies.operator_policy(of_stage(writer, reader))
    one = policies.operator_policy(of_stage(writer, writer))

    assert granted(both)[cluster] == {"dsql:DbConnectAdmin", "dsql:DbConnect"}
    assert one == policies.operator_policy(of_stage(writer))
    sids = [statement["Sid"] for statement in both["Statement"]]
    assert len(sids) == len(set(sids))


def test_operator_connects_as_the_owner_if_sql_owner_url_is_set(monkeypatch):
    owned = f"auroradsql+psycopg://admin@{CLUSTER}"
    with_sql = settings.read({"STAGE": STAGE, "SQL_URL": f"auroradsql+psycopg://counter@{CLUSTER}"})

    before = stages.find_sql_url(with_sql)
    monkeypatch.setenv("SQL_OWNER_URL", owned)

    assert before == with_sql.sql_url
    assert stages.find_sql_url(with_sql) == owned
    assert stages.find_sql_url(settings.read({"STAGE": STAGE})) == ""


@pytest.mark.parametrize(
    ("owner_url", "message"),
    [
        ("counter", "SQL_OWNER_URL must be sqlite"),
        ("postgresql://admin:secret@host/counter", "SQL_OWNER_URL must be sqlite"),
        ("postgresql+psycopg://admin:secret@host:port/counter", "SQL_OWNER_URL must be sqlite"),
        ("sqlite:///file", r"SQL_OWNER_URL must begin with postgresql\+psycopg://, like SQL_URL"),
    ],
)
def test_malformed_sql_owner_url_is_refused_without_its_password(monkeypatch, owner_url, message):
    with_sql = settings.read({"STAGE": STAGE, "SQL_URL": "postgresql+psycopg://counter@host/counter"})
    monkeypatch.setenv("SQL_OWNER_URL", owner_url)

    with pytest.raises(SettingsError, match=message) as refused:
        stages.find_sql_url(with_sql)

    assert "secret" not in str(refused.value)


def test_sql_owner_url_may_contain_a_password(monkeypatch):
    with_sql = settings.read({"STAGE": STAGE, "SQL_URL": "postgresql+psycopg://counter@host/counter"})
    owner_url = "postgresql+psycopg://admin:se:cr/et@[::1]:5432/counter"
    monkeypatch.setenv("SQL_OWNER_URL", owner_url)

    assert stages.find_sql_url(with_sql) == owner_url


@pytest.mark.parametrize("who", EVERYBODY)
def test_no_policy_allows_updating_or_deleting_an_event(who):
    allowed = granted(of(who, STAGE)).get(arn("event log", STAGE), set())

    assert allowed <= {
        f"dynamodb:{action}" for action in ("BatchGetItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan")
    }


@pytest.mark.parametrize("who", EVERYBODY)
def test_stage_has_no_permissions_on_a_stage_with_a_longer_name(who):
    others = [arn(resource, f"{STAGE}-two") for resource in (*TABLES, *QUEUES)]

    assert not granted(of(who, STAGE)).keys() & set(others)


def test_only_traced_functions_may_send_traces():
    untraced = policies.function_policies(of_stage(), traced=False)
    traced = policies.function_policies(of_stage(), traced=True)

    for name, policy in traced.items():
        added = granted(policy)
        assert added.pop("*") == {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
        assert added == granted(untraced[name])


@pytest.mark.parametrize(
    ("of_all", "of_the_stage", "traced"),
    [({}, {}, False), ({"xray": True}, {}, True), ({}, {"xray": True}, True), ({"xray": True}, {"xray": False}, False)],
)
def test_functions_are_traced_if_configured(tmp_path, of_all, of_the_stage, traced):
    configuration = {**of_all, "stages": {STAGE: of_the_stage}}
    (tmp_path / "config.json").write_text(json.dumps(configuration), encoding="utf-8")

    policies.write(settings.read({"STAGE": STAGE}), tmp_path)

    for name, policy in policies.function_policies(of_stage(), traced=traced).items():
        assert json.loads((tmp_path / "policies" / STAGE / name).read_text(encoding="utf-8")) == policy


@pytest.mark.parametrize("traced", [True, False])
def test_gateway_is_traced_with_the_functions(tmp_path, monkeypatch, traced):
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice" / "config.json").write_text(json.dumps({"stages": {STAGE: {"xray": traced}}}))
    monkeypatch.setattr(stages, "PROJECT", tmp_path)

    api = overlay.render(settings.read({"STAGE": STAGE}))["Resources"]["RestAPI"]["Properties"]

    assert api["TracingEnabled"] is traced


def test_policies_are_written_where_the_configuration_names_them(tmp_path):
    source = PROJECT / ".chalice" / "config.json"
    shutil.copy(source, tmp_path)

    for stage, its_own in json.loads(source.read_text(encoding="utf-8"))["stages"].items():
        policies.write(stages.read_settings(stage), tmp_path)
        for function in its_own["lambda_functions"].values():
            assert (tmp_path / function["iam_policy_file"]).exists()
