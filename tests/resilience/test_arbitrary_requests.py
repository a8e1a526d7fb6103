"""
No request causes a 5xx. A refused request gets a problem document and records nothing.

Requests have the form in which API Gateway passes them on. Responses are checked by API Gateway's rules.
"""

import base64
import json
import re
from urllib.parse import unquote

from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import app
from chalicelib.api import views
from testkit.builders import api_event

EXAMPLES = 400

MANY = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.too_slow],
)

TEXTS = st.text(
    st.characters(exclude_categories=()) | st.sampled_from('\x00\r\n\t\x7f\ud800\udfff\ufffd" ,;='), max_size=40
)
HEADER_NAMES = st.sampled_from(
    ["Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer", "Accept", "Accept-Encoding", "Origin"]
)
MEDIA_TYPES = ["application/json", "application/json; charset=utf-8", "text/plain", "*/*", "image/png"]
VERSION_TAGS = ['"0"', '"1"', 'W/"0"', "*", f'"{"9" * 18}"', f'"{"9" * 5000}"', '"\u0661"']
HEADER_VALUES = st.sampled_from([*MEDIA_TYPES, *VERSION_TAGS, "return=representation", "k", "x" * 300, ""]) | TEXTS
DIGITS = st.sampled_from([1, 18, 19, 20, 40, 900, 1000, 4300, 5000]).map("9".__mul__)
JSON_VALUES = st.one_of(
    st.sampled_from(["1", "1000", "0", "-1", "1001", "1.0", "1e2", "1e999", "-0", "NaN", "Infinity", "true", "null"]),
    st.sampled_from(
        ['"1"', '"\\ud800"', "[1]", "{}", str(2**63), str(2**64), str(10**40), "0x1", "01", "1_0", "\u0661"]
    ),
    DIGITS,
    st.sampled_from([2, 200, 500, 1000, 5000]).map(lambda depth: "[" * depth + "]" * depth),
    st.sampled_from(["[" * 900, "[" * 1010, '{"":' * 200, '{"by":' * 150]),
    TEXTS,
)
BODIES = st.one_of(
    st.none(),
    st.just('{"by":2}'),
    JSON_VALUES,
    JSON_VALUES.map('{{"by":{}}}'.format),
    st.builds('{{"by":{},"by":{}}}'.format, JSON_VALUES, JSON_VALUES),
    st.builds('{{"by":1,{}:{}}}'.format, st.sampled_from(['"to"', '"BY"', '"\\u0062y"', '"__proto__"']), JSON_VALUES),
    TEXTS,
    st.sampled_from([1023, 1024, 1025, 300_000]).map(" ".__mul__),
    st.binary(max_size=60).map(lambda sent: base64.b64encode(sent).decode()),
)
INVALID_COUNTER_IDS = st.sampled_from(["clicks#1", "a/b", "..", "", "x" * 65, "%00", "mine\n"]) | TEXTS
EVENT_IDS = st.one_of(
    st.uuids().map(str), st.uuids().map(lambda uuid: str(uuid).upper()), st.sampled_from(["", "1", "{1}"]), TEXTS
)
QUERIES = st.dictionaries(
    st.sampled_from(sorted({name for names in views.PARAMETERS.values() for name in names} | {"x"})),
    st.lists(
        st.one_of(
            st.sampled_from(["1", "100", "0", "101", "-1", "1.0", "\u0661", "9" * 5000, "", "MSBjbGlja3M", "MSBhIGI"]),
            st.binary(max_size=20).map(lambda sent: base64.urlsafe_b64encode(sent).decode()),
            st.text(max_size=70).map(lambda last: base64.urlsafe_b64encode(f"1 {last}".encode()).decode().rstrip("=")),
            TEXTS,
        ),
        min_size=1,
        max_size=2,
    ),
    max_size=2,
)
DECLARED = [(method, path) for path, methods in app.app.routes.items() for method in methods]
COMMANDS = [(method, path) for method, path in DECLARED if method == "POST"]
#: Half of the requests are commands.
ROUTES = st.sampled_from(DECLARED) | st.sampled_from(COMMANDS)


#: True in one of twelve cases, so that most requests stay valid.
RARELY = st.sampled_from([False] * 11 + [True])


@st.composite
def requests(draw):
    """Draw a request of any client, as the gateway passes it on."""
    method, resource = draw(ROUTES)
    if draw(RARELY):
        method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "get"]))
    sent = api_event(
        method,
        resource,
        path={
            "counter_id": draw(INVALID_COUNTER_IDS) if draw(RARELY) else "mine",
            "event_id": draw(EVENT_IDS),
            "name": draw(st.just("daily") | TEXTS),
        },
        query=draw(st.none() | QUERIES),
        body=draw(BODIES),
    )
    sent["isBase64Encoded"] = draw(RARELY) or draw(RARELY)
    if sent["isBase64Encoded"] and sent["body"] and not draw(RARELY):
        sent["body"] = base64.b64encode(sent["body"].encode("utf-8", "surrogatepass")).decode()
    sent["multiValueHeaders"] = draw(headers())
    sent["headers"] = {name: values[-1] for name, values in sent["multiValueHeaders"].items() if values}
    if draw(RARELY):
        # The test console of API Gateway sends null for these.
        sent["headers"] = sent["multiValueHeaders"] = sent["queryStringParameters"] = None
        sent["multiValueQueryStringParameters"] = None
    return sent


@st.composite
def headers(draw):
    """Draw headers in any case, some repeated. Most requests declare JSON."""
    sent = {} if draw(RARELY) else {"Content-Type": ["application/json"]}
    names = HEADER_NAMES.flatmap(lambda name: st.sampled_from([name, name, name.lower(), name.upper()]))
    values = st.lists(HEADER_VALUES, min_size=1, max_size=1) | st.lists(HEADER_VALUES, min_size=1, max_size=2)
    sent |= draw(st.dictionaries(names | TEXTS, values, max_size=3))
    return sent


def is_ambiguous(request):
    """Check whether If-Match or Idempotency-Key is repeated, in any case."""
    sent = [name.lower() for name, values in (request["multiValueHeaders"] or {}).items() for _ in values]
    return sent.count("if-match") > 1 or sent.count("idempotency-key") > 1


TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
#: Internals that no client may see: tables and queues, Python and the SDK.
INTERNALS = re.compile(
    'counter-pipeline|Traceback|File "|python|recursion|sys\\.|botocore|DynamoDB|Error\\b', re.IGNORECASE
)


def check_answer(answer):
    """Check that the gateway accepts the answer: a status, valid headers, and a body of text."""
    assert set(answer) <= {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    assert isinstance(answer["body"], str)
    answer["body"].encode()
    for name, value in answer["headers"].items():
        assert TOKEN.fullmatch(name)
        assert FIELD_VALUE.fullmatch(value), (name, value)
    assert answer["multiValueHeaders"] == {}
    assert len({name.lower() for name in answer["headers"]}) == len(answer["headers"])
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


def check_problem(answer):
    """Check that the answer is a problem document for its status, without internals."""
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    problem = json.loads(answer["body"])
    assert {name: type(problem.get(name)) for name in ("type", "title", "status", "detail")} == {
        "type": str,
        "title": str,
        "status": int,
        "detail": str,
    }
    assert set(problem) <= {"type", "title", "status", "detail", "current"}
    assert problem["status"] == answer["statusCode"]
    assert not INTERNALS.search(problem["detail"]), problem["detail"]
    assert len(problem["detail"]) < 500


def an_increment(headers, body=None):
    sent = api_event("POST", "/counters/{counter_id}/increments", path={"counter_id": "mine"}, body=body)
    sent["multiValueHeaders"] = {"Content-Type": ["application/json"], **headers}
    return sent


@MANY
@given(requests())
@example(an_increment({"Idempotency-Key": ["one"], "idempotency-key": ["other"]}))
@example(an_increment({"If-Match": ['"0"'], "IF-MATCH": ['"1"']}))
@example(an_increment({}, "[" * 1010))
@example(an_increment({}, '{"by":' + "9" * 5000 + "}"))
@example(an_increment({"Content-Type": ["application/json"], "content-type": ["text/plain"]}, '{"by":2}'))
def test_arbitrary_requests_are_answered_and_recorded_as_answered(pipeline, request):
    named = request["pathParameters"]
    path = {**named, "counter_id": named["counter_id"].replace("mine", pipeline.counter_id)}

    answer = app.app({**request, "pathParameters": path}, None)

    event(f"{request['httpMethod']} {request['resource']} {answer['statusCode']}")
    check_answer(answer)
    status, recorded = answer["statusCode"], pipeline.new_records()
    assert status in (200, 202, 304) or 400 <= status < 500
    if status >= 400:
        check_problem(answer)
    if request["httpMethod"] == "POST" and is_ambiguous(request):
        assert status >= 400
    is_new = "Idempotency-Replayed" not in answer["headers"]
    assert len(recorded) == (request["httpMethod"] == "POST" and status in (200, 202) and is_new)
    if status == 202 and is_new:
        body = json.loads(answer["body"])
        image = recorded[0]["dynamodb"]["NewImage"]
        assert (image["event_id"]["S"], image["by"]["N"]) == (body["event_id"], str(body["by"]))
        assert image["partition"]["S"] == body["counter_id"] == unquote(path["counter_id"])
