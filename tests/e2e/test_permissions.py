"""
Enforced permissions: requests that the credentials of each function and of an operator allow and deny.

Each request changes nothing if it is allowed: its item does not exist, or its size exceeds the service's limit. Where
the embedded AWS does not enforce IAM as AWS does (streams, PartiQL, log groups), the tests use IAM's simulator.
"""

import contextlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from ops.deployment import provision, stacks
from testkit.builders import an_event, message_body
from tests.e2e.conftest import eventually, ops
from tests.permissions import FUNCTIONS, NEEDED, QUEUES, SQL_QUEUES, TABLES, arn, function_name, needed

pytestmark = pytest.mark.exhaustive

#: Stage local has SQL on.
LOCAL_FUNCTIONS = (*FUNCTIONS, "project_sql")
EVERYBODY = sorted([*LOCAL_FUNCTIONS, "operator"])

#: The code of a function that returns its credentials. Lambda gives each function the credentials of its role.
HANDS_OUT_ITS_CREDENTIALS = """
import os

def handler(event, context):
    return [os.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
"""

KEYS = {
    "event log": {"partition": {"S": "nobody's"}, "event_id": {"S": "none"}},
    "counters": {"counter_id": {"S": "nobody's"}, "part": {"N": "0"}},
    "archive": {"partition": {"S": "nobody's"}, "end": {"N": "0"}},
    "catalog": {"name": {"S": "nobody's"}},
}

#: A condition that makes an allowed write fail for another reason.
IF_IT_IS_THERE = {"ConditionExpression": "attribute_exists(#a)", "ExpressionAttributeNames": {"#a": "nothing"}}

MUCH = "x" * 1_048_577

#: On AWS, the permission for an action includes its batches (SQS API reference, "AddPermission"). The embedded AWS
#: requires this permission.
SEVERAL_AT_ONCE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sqs:ChangeMessageVisibilityBatch", "Resource": "*"}],
}


def on_a_table(client: Any, name: str, key: Any) -> dict[str, Callable[[], object]]:
    """Return a request for each action on the table. If several represent one action, one has to be allowed."""
    one = {"TableName": name, "Key": key}
    first = next(iter(key))
    equals = {"KeyConditionExpression": f"{first} = :v", "ExpressionAttributeValues": {":v": key[first]}}

    def in_a_transaction(kind: str, **more: Any) -> Callable[[], object]:
        return partial(
            client.transact_write_items, TransactItems=[{kind: {"TableName": name, **IF_IT_IS_THERE, **more}}]
        )

    update = {"UpdateExpression": "SET #a = :v", "ExpressionAttributeValues": {":v": {"S": "x"}}}
    return {
        "GetItem": partial(client.get_item, **one),
        "BatchGetItem": partial(client.batch_get_item, RequestItems={name: {"Keys": [key]}}),
        "Query": partial(client.query, TableName=name, **equals),
        "Scan": partial(client.scan, TableName=name, Limit=1),
        "DescribeTable": partial(client.describe_table, TableName=name),
        "PutItem": partial(client.put_item, TableName=name, Item=key, **IF_IT_IS_THERE),
        "PutItem in a transaction": in_a_transaction("Put", Item=key),
        "UpdateItem": partial(client.update_item, **one, **update, **IF_IT_IS_THERE),
        "UpdateItem in a transaction": in_a_transaction("Update", Key=key, **update),
        "DeleteItem": partial(client.delete_item, **one),
        "DeleteItem in a transaction": in_a_transaction("Delete", Key=key),
        "ConditionCheckItem in a transaction": in_a_transaction("ConditionCheck", Key=key),
        "BatchWriteItem": partial(client.batch_write_item, RequestItems={name: [{"DeleteRequest": {"Key": key}}]}),
        "UpdateTable": partial(client.update_table, TableName=name, BillingMode="PAY_PER_REQUEST"),
        "UpdateTimeToLive": partial(
            client.update_time_to_live,
            TableName=name,
            TimeToLiveSpecification={"Enabled": False, "AttributeName": "nothing"},
        ),
        "DeleteTable": partial(client.delete_table, TableName=name),
    }


def on_a_queue(client: Any, url: str) -> dict[str, Callable[[], object]]:
    """Return a request for each action on the queue."""
    return {
        "GetQueueUrl": partial(client.get_queue_url, QueueName=url.rpartition("/")[2]),
        "GetQueueAttributes": partial(client.get_queue_attributes, QueueUrl=url, AttributeNames=["QueueArn"]),
        "SendMessage": partial(client.send_message, QueueUrl=url, MessageBody=MUCH),
        "ReceiveMessage": partial(client.receive_message, QueueUrl=url, MaxNumberOfMessages=11, VisibilityTimeout=0),
        "DeleteMessage": partial(client.delete_message, QueueUrl=url, ReceiptHandle="none"),
        "ChangeMessageVisibility": partial(
            client.change_message_visibility, QueueUrl=url, ReceiptHandle="none", VisibilityTimeout=0
        ),
        "SetQueueAttributes": partial(client.set_queue_attributes, QueueUrl=url, Attributes={}),
        "PurgeQueue": partial(client.purge_queue, QueueUrl=url),
        "DeleteQueue": partial(client.delete_queue, QueueUrl=url),
    }


def is_allowed(request: Callable[[], object]) -> bool:
    """Check whether IAM allows the request. Invalid credentials are an error, not a denial."""
    try:
        request()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch"):
            raise
        return code not in ("AccessDenied", "AccessDeniedException")
    return True


def allowed(requests: dict[str, Callable[[], object]]) -> set[str]:
    return {action for action, request in requests.items() if is_allowed(request)}


def expected(actions: frozenset[str], requests: dict[str, Callable[[], object]]) -> set[str]:
    """Return the requests that use these actions. Every action must have a request, or it would not be tested."""
    action_of = {request: request.removesuffix(" in a transaction") for request in requests}
    assert actions <= {*action_of.values()}
    return {request for request, action in action_of.items() if action in actions}


@contextlib.contextmanager
def as_function(function: str) -> Iterator[boto3.Session]:
    """Return a session with the credentials of this function of stage local."""
    functions = boto3.client("lambda")
    role = functions.get_function_configuration(FunctionName=function_name(function, "local"))["Role"]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("program.py", HANDS_OUT_ITS_CREDENTIALS)
    name = f"as-{function}-{uuid.uuid4()}"
    functions.create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.11",
        Handler="program.handler",
        Code={"ZipFile": package.getvalue()},
    )
    try:
        yield boto3.Session(*json.load(functions.invoke(FunctionName=name)["Payload"]))
    finally:
        functions.delete_function(FunctionName=name)


@contextlib.contextmanager
def as_operator() -> Iterator[boto3.Session]:
    """Return a session with only the policy that is printed for operators of stage local."""
    iam, name = boto3.client("iam"), f"operator-{uuid.uuid4()}"
    has = {"operates": json.loads(ops("policy", "--stage", "local").stdout), "several-at-once": SEVERAL_AT_ONCE}
    iam.create_user(UserName=name)
    for policy, document in has.items():
        iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    try:
        yield boto3.Session(key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        for policy in has:
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        iam.delete_user(UserName=name)


@pytest.fixture(scope="module")
def session_of(api_url):
    """Return the sessions of each function and of the operator, with their own credentials."""
    with contextlib.ExitStack() as stack:
        sessions = {function: stack.enter_context(as_function(function)) for function in LOCAL_FUNCTIONS}
        sessions["operator"] = stack.enter_context(as_operator())
        yield sessions


@pytest.fixture(scope="module")
def url_of(stage):
    """Return a function that returns queue URLs by name and stage."""
    sqs = boto3.client("sqs")

    def found(queue, of_stage):
        return sqs.get_queue_url(QueueName=arn(queue, of_stage).rpartition(":")[2])["QueueUrl"]

    return found


def requests_for(session, resource, stage, url_of):
    if resource in (*QUEUES, *SQL_QUEUES):
        return on_a_queue(session.client("sqs"), url_of(resource, stage))
    return on_a_table(session.client("dynamodb"), arn(resource, stage).rpartition("/")[2], KEYS[resource])


@pytest.mark.parametrize("resource", [*TABLES, *QUEUES, *SQL_QUEUES])
@pytest.mark.parametrize("who", EVERYBODY)
def test_needed_actions_are_allowed_and_all_others_denied(session_of, url_of, who, resource):
    requests = requests_for(session_of[who], resource, "local", url_of)

    assert allowed(requests) == expected(needed(who, with_sql=True).get(resource, frozenset()), requests)


@pytest.mark.parametrize("resource", [*TABLES, *QUEUES])
@pytest.mark.parametrize("who", EVERYBODY)
def test_resources_of_another_stage_are_denied(session_of, url_of, who, resource):
    assert allowed(requests_for(session_of[who], resource, "pipeline", url_of)) == set()


def test_administrator_is_allowed_every_tested_request(url_of):
    dangerous = {"PurgeQueue", "DeleteQueue", "DeleteTable"}

    for resource in (*TABLES, *QUEUES):
        requests = requests_for(boto3, resource, "pipeline", url_of)
        harmless = {name: request for name, request in requests.items() if name not in dangerous}
        assert allowed(harmless) == harmless.keys()


@pytest.fixture
def is_allowed_by_iam(session_of):
    """Check whether IAM's simulator allows this action on this resource."""
    iam = boto3.client("iam")

    def decided(who, action, resource):
        caller = session_of[who].client("sts").get_caller_identity()["Arn"]
        source = caller
        if ":assumed-role/" in caller:
            role = caller.split("/")[1]
            source = iam.get_role(RoleName=role)["Role"]["Arn"]
        (result,) = iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=[action], ResourceArns=[resource]
        )["EvaluationResults"]
        return result["EvalDecision"] == "allowed"

    return decided


@pytest.mark.parametrize("who", EVERYBODY)
def test_only_publish_reads_the_stream(is_allowed_by_iam, stage, who):
    stream = stacks.outputs(provision.stack_name("local"))["EventLogStreamArn"]

    for action in NEEDED["publish"]["stream"]:
        assert is_allowed_by_iam(who, f"dynamodb:{action}", stream) is (who == "publish")
        assert not is_allowed_by_iam(who, f"dynamodb:{action}", stage["EventLogStreamArn"])


@pytest.mark.parametrize("resource", TABLES)
@pytest.mark.parametrize("who", EVERYBODY)
def test_partiql_and_table_deletion_are_denied_to_all(is_allowed_by_iam, who, resource):
    table = arn(resource, "local").replace(":*:*:", ":us-east-1:000000000000:")

    for action in ("PartiQLSelect", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete", "DeleteTable", "ImportTable"):
        assert not is_allowed_by_iam(who, f"dynamodb:{action}", table)


@pytest.mark.parametrize("group_of", LOCAL_FUNCTIONS)
@pytest.mark.parametrize("who", EVERYBODY)
def test_function_may_write_only_its_own_log(is_allowed_by_iam, who, group_of):
    group = f"arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/{function_name(group_of, 'local')}"

    for action in ("CreateLogStream", "PutLogEvents"):
        assert is_allowed_by_iam(who, f"logs:{action}", f"{group}:log-stream:x") is (who == group_of)
    assert not is_allowed_by_iam(who, "logs:CreateLogGroup", f"{group}:*")


@pytest.fixture
def as_that_operator(session_of, place, tmp_path):
    """Run the operators' CLI with the operator's credentials instead of root's."""
    key = session_of["operator"].get_credentials()
    lines = (place.folder / "env").read_text(encoding="utf-8").splitlines()
    own = {"AWS_ACCESS_KEY_ID": key.access_key, "AWS_SECRET_ACCESS_KEY": key.secret_key}
    text = "\n".join(f"{name}={value}" for name, value in {**dict(line.split("=", 1) for line in lines), **own}.items())
    (tmp_path / "env").write_text(text, encoding="utf-8")
    (tmp_path / "counter.sqlite").symlink_to(place.folder / "counter.sqlite")

    def run(*arguments):
        return ops(*arguments, "--stage", "local", LOCAL_FOLDER=str(tmp_path))

    return run


def test_operator_policy_suffices_for_all_commands(as_that_operator, client, counter_id, operator, tmp_path):
    parked_for = f"{counter_id}.parked"
    body = message_body(an_event(counter_id=parked_for, by=5))
    parked = boto3.client("sqs").send_message(QueueUrl=operator.dead_letter_url, MessageBody=body)["MessageId"]
    client.increment(counter_id, 3, Prefer="return=representation")

    done = [
        as_that_operator(*arguments)
        for arguments in (
            ["adjust", counter_id, "--by", "4", "--reason", "a test", "--yes"],
            ["replay", "--counter", counter_id],
            ["replay"],
            ["rebuild", "--counter", counter_id, "--dry-run"],
            ["rebuild", "--counter", counter_id],
            ["verify", "--counter", counter_id],
            ["redrive", "--message", parked],
            ["export", "--counter", counter_id, str(tmp_path / "events.jsonl")],
            ["import", str(tmp_path / "events.jsonl")],
            ["counters", "purge", f"{counter_id}.spam*", "--reason", "a test", "--dry-run"],
        )
    ]
    whole = as_that_operator("verify", "--json")

    assert [one.stderr for one in done if one.returncode] == []
    assert "differences" in json.loads(whole.stdout)
    assert client.counter(counter_id)["value"] == 7
    eventually(lambda: client.counter(parked_for)["value"] == 5)


def test_operator_is_shown_the_denied_action(as_that_operator):
    refused = as_that_operator("provision")

    assert refused.returncode == 3
    assert "not authorized to perform: cloudformation:" in refused.stderr
