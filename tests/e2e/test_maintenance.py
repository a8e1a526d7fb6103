"""Run verify, replay and rebuild on the deployed system under traffic."""

import contextlib
import gzip
import hashlib
import json
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from chalicelib.command_handlers import generate_event_id
from testkit.builders import a_counter_id, an_event, log_items
from tests.e2e.conftest import PROJECT, configure, copy_project, eventually, ops

pytestmark = pytest.mark.exhaustive

#: The number of events of a rebuild under traffic. `make load` rebuilds 50,000.
EVENTS = int(os.environ.get("REBUILT_EVENTS", "3000"))


def append_to_the_log(events):
    """Append the events in the largest batches that DynamoDB accepts."""
    client = boto3.client("dynamodb")
    items = log_items(events)

    def put(start):
        requests: Any = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        assert not client.batch_write_item(RequestItems={"counter-local-event-log": requests})["UnprocessedItems"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(0, len(items), 25)))


def set_value(counter_id, value):
    boto3.client("dynamodb").update_item(
        TableName="counter-local-counters",
        Key={"counter_id": {"S": counter_id}, "part": {"N": "0"}},
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"N": str(value)}},
    )


def test_counter_that_matches_the_log_is_verified_with_exit_status_0(client, counter_id):
    for _ in range(5):
        client.increment(counter_id, 2)

    verified = ops("verify", "--stage", "local", "--counter", counter_id)
    as_json = json.loads(ops("verify", "--stage", "local", "--counter", counter_id, "--json").stdout)

    assert verified.returncode == 0
    assert verified.stdout.splitlines() == [
        "1 counter, 5 events, 5 entries: the read model matches the log.",
        "SQL read model:",
        "1 counter, 5 events, 5 rows: the read model matches the log.",
    ]
    assert (as_json["holds"], as_json["events"], as_json["pending"], as_json["differences"]) == (True, 5, 0, [])


def test_whole_stage_is_verified_with_all_its_counters(client, counter_id):
    names = [f"{counter_id}.{n}" for n in range(12)]
    for name in names:
        client.increment(name, 3, Prefer="return=representation")
    set_value(names[7], 5)

    verified = json.loads(ops("verify", "--stage", "local", "--json").stdout)

    wrong = [(one["counter_id"], one["kind"]) for one in verified["differences"] if one["counter_id"] in names]
    assert wrong == [(names[7], "value too high")]
    assert verified["counters"] >= 12


def test_wrong_value_is_reported_and_repaired(client, counter_id):
    for _ in range(5):
        client.increment(counter_id, 2, Prefer="return=representation")
    set_value(counter_id, 11)

    wrong = ops("verify", "--stage", "local", "--counter", counter_id)
    rebuilt = ops("rebuild", "--stage", "local", "--counter", counter_id, "--json")
    right = ops("verify", "--stage", "local", "--counter", counter_id)

    assert wrong.returncode == 1
    assert f"{counter_id}: value too high: the value is 11, but the entries add up to 10" in wrong.stdout
    assert (rebuilt.returncode, json.loads(rebuilt.stdout)["corrected"]) == (0, {"value too high": 1})
    assert right.returncode == 0
    assert client.counter(counter_id)["value"] == 10


def test_lost_and_wrong_rows_are_reported_and_repaired(client, counter_id, place):
    for by in (1, 2, 4):
        client.increment(counter_id, by)
    assert ops("verify", "--stage", "local", "--counter", counter_id).returncode == 0
    with contextlib.closing(sqlite3.connect(place.folder / "counter.sqlite", timeout=60)) as database, database:
        database.execute("DELETE FROM events WHERE counter_id = ? AND amount = 1", [counter_id])
        database.execute("UPDATE events SET amount = 9 WHERE counter_id = ? AND amount = 2", [counter_id])

    wrong = ops("verify", "--stage", "local", "--counter", counter_id, "--json")
    rebuilt = ops("rebuild", "--stage", "local", "--counter", counter_id, "--projection", "sql")
    right = ops("verify", "--stage", "local", "--counter", counter_id, "--json")

    facts = json.loads(wrong.stdout)
    assert (wrong.returncode, facts["holds"], facts["sql"]["holds"]) == (1, True, False)
    assert facts["sql"]["numbers"] == {
        "event not counted": 1,
        "row that differs from its event": 1,
        "value too low": 1,
    }
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    assert "1 corrected: row that differs from its event.\n1 event counted.\n" in rebuilt.stdout
    assert (right.returncode, json.loads(right.stdout)["sql"]["rows"]) == (0, 3)
    with contextlib.closing(sqlite3.connect(place.folder / "counter.sqlite")) as database:
        found = database.execute("SELECT value, version FROM counters WHERE counter_id = ?", [counter_id])
        assert found.fetchall() == [(7, 3)]


def test_exported_events_are_imported_under_another_name_and_counted(client, counter_id, tmp_path):
    for by in (2, 3):
        client.increment(counter_id, by, Prefer="return=representation")
    file, copy, other = tmp_path / "events.jsonl.gz", tmp_path / "copy.jsonl", f"{counter_id}.copy"

    exported = ops("export", "--stage", "local", "--counter", counter_id, str(file), "--json")
    shown = ops("export", "--stage", "local", "--counter", counter_id, "-")
    copy.write_text(shown.stdout.replace(counter_id, other))
    planned = ops("import", "--stage", "local", str(copy), "--dry-run")
    imported = ops("import", "--stage", "local", str(copy))
    again = ops("import", "--stage", "local", str(copy), str(file), "--json")

    assert gzip.decompress(file.read_bytes()).decode() == shown.stdout
    assert json.loads(exported.stdout)["sha256"] == hashlib.sha256(shown.stdout.encode()).hexdigest()
    assert shown.stderr == "2 events of stage local written to standard output.\n"
    assert planned.stdout == "2 events would be appended (2 Incremented), 0 already in the log, 0 problems.\n"
    assert imported.stdout.startswith("2 events appended (2 Incremented), 0 already in the log, 0 problems.\n")
    assert json.loads(again.stdout) | {"appended": 0, "present": 4, "problems": 0} == json.loads(again.stdout)
    eventually(lambda: client.counter(other)["value"] == 5)
    assert ops("verify", "--stage", "local", "--counter", other).returncode == 0


@pytest.fixture(scope="module")
def bucket(place):
    """Create a bucket with a file that cannot be imported."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="backups")
    client.put_object(Bucket="backups", Key="cut.jsonl.gz", Body=gzip.compress(b"junk\n" * 9)[:-9])
    return "s3://backups"


def test_export_to_s3_is_imported_from_there(client, counter_id, bucket, tmp_path):
    client.increment(counter_id, 2, Prefer="return=representation")
    url, file = f"{bucket}/a/{counter_id}.jsonl.gz", tmp_path / "events.jsonl.gz"

    ops("export", "--stage", "local", "--counter", counter_id, str(file))
    exported = ops("export", "--stage", "local", "--counter", counter_id, url)
    imported = ops("import", "--stage", "local", url, "--json")

    assert exported.stdout == f"1 event of stage local written to {url}.\nManifest: {url}.manifest.json\n"
    assert json.loads(imported.stdout)["present"] == 1
    stored = boto3.resource("s3").Object("backups", f"a/{counter_id}.jsonl.gz")
    assert stored.get()["Body"].read() == file.read_bytes()
    assert [*PROJECT.glob(f"{counter_id}*")] == []

    stored.put(Body=gzip.compress(b""))
    edited = ops("import", "--stage", "local", url)

    assert edited.returncode == 1
    assert f"{url}: it differs from its manifest: it has 0 lines for 1 event" in edited.stdout


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (["export", "s3://backups"], 2, "FILE in S3 must be s3://BUCKET/KEY, got s3://backups."),
        (["import", "s3://backups/folder/"], 2, "FILE in S3 must be s3://BUCKET/KEY, got s3://backups/folder/."),
        (["export", "s3://no-such-bucket-here/e.jsonl"], 2, "No such bucket: no-such-bucket-here."),
        (["import", "s3://backups/no-such.jsonl"], 2, "No such file: s3://backups/no-such.jsonl."),
        (["import", "s3://no-such-bucket-here/e.jsonl"], 2, "No such file: s3://no-such-bucket-here/e.jsonl."),
        (["import", "s3://backups/cut.jsonl.gz"], 1, "line 10: the compressed file is damaged or truncated"),
    ],
)
def test_file_in_s3_that_cannot_be_used_is_refused(bucket, command, status, message):
    done = ops(*command, "--stage", "local")

    assert done.returncode == status
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_start_values_in_csv_are_recorded_once(client, counter_id, tmp_path):
    (tmp_path / "v.csv").write_text(f"counter_id,value\n{counter_id},51200\n")
    command = ["import", "--stage", "local", str(tmp_path / "v.csv"), "--reason", "moved", "--json"]

    numbers = [json.loads(ops(*command).stdout)["appended"] for _ in range(2)]

    assert numbers == [1, 0]
    eventually(lambda: client.counter(counter_id)["value"] == 51200)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["import", "v.csv"], "A CSV file requires --reason."),
        (["import", "e.jsonl", "--key", "k"], "--reason, --who and --key require a file whose name ends in .csv"),
        (["import"], "Missing argument 'FILE...'"),
        (["export", "-", "--from", "2026-02-01", "--to", "2026-01-31"], "--from must be before --to."),
        (["export", "/dev/null"], "FILE must be a regular file, s3://BUCKET/KEY, or - for standard output"),
    ],
)
def test_wrong_use_of_export_and_import_is_refused(place, command, message):
    done = ops(*command, "--stage", "local")

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_replay_counts_only_events_that_were_lost(client, counter_id):
    for _ in range(7):
        client.increment(counter_id, 1, Prefer="return=representation")
    for table, key in (("counters", "counter_id"), ("archive", "partition")):
        remove(f"counter-local-{table}", key, counter_id)

    dry = ops("replay", "--stage", "local", "--counter", counter_id, "--dry-run", "--json")
    sent = ops("replay", "--stage", "local", "--counter", counter_id, "--json")

    assert json.loads(dry.stdout) | {"dry_run": False} == json.loads(sent.stdout)
    assert json.loads(sent.stdout)["events"] == 7
    eventually(lambda: client.counter(counter_id)["version"] == 7)
    assert ops("verify", "--stage", "local", "--counter", counter_id).returncode == 0


def remove(table, key, value):
    client = boto3.client("dynamodb")
    for page in client.get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            if item[key]["S"] == value:
                keys = {name: item[name] for name in (key, "part", "end") if name in item}
                client.delete_item(TableName=table, Key=keys)


def test_only_the_given_time_range_is_replayed(client, counter_id):
    append_to_the_log([an_event(counter_id=counter_id, recorded_at_ms=second * 1000) for second in range(10)])

    sent = ops(
        *("replay", "--stage", "local", "--counter", counter_id, "--dry-run", "--json"),
        *("--from", "1970-01-01T00:00:03Z", "--to", "1970-01-01T02:00:07+02:00"),
    )

    assert json.loads(sent.stdout)["events"] == 4


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["replay", "--from", "yesterday"],
            2,
            "must be an RFC 3339 time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31, got 'yesterday'",
        ),
        (["replay", "--from", "2026-01-31T12:00:00"], 2, "must be an RFC 3339 time"),
        (["replay", "--rate", "0"], 2, "0 is not in the range x>=1"),
        (["verify", "--counter", "a b"], 2, "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -, got 'a b'"),
        (["verify", "--counter", "never-heard-of"], 1, "No such counter: never-heard-of"),
        (["replay", "--counter", "never-heard-of"], 1, "No such counter: never-heard-of"),
        (["rebuild", "--counter", "never-heard-of"], 1, "No such counter: never-heard-of"),
        (["rebuild", "--back"], 2, "No such option '--back'"),
        (["redrive", "--discard"], 2, "--discard requires --message, --reason or --older-than."),
        (["redrive", "--discard", "--reason", ""], 2, "--discard requires --message, --reason or --older-than."),
        (["redrive", "--yes"], 2, "--yes requires --discard."),
        (["redrive", "--older-than", "3 weeks"], 2, "such as 30min, 12h or 7d, got '3 weeks'"),
        (["verify", "--projection", "rows"], 2, "'rows' is not one of 'read-model', 'sql'"),
    ],
)
def test_impossible_request_prints_one_line(place, arguments, status, message):
    refused = ops(*arguments, "--stage", "local")

    assert refused.returncode == status
    assert message in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_a_rebuild_under_traffic_never_shows_less_than_before(client, new_client):
    name, recorded = a_counter_id(), time.time_ns() // 1_000_000 - 3_600_000
    times = [recorded + n * 5 for n in range(EVENTS)]
    append_to_the_log([an_event(counter_id=name, event_id=generate_event_id(ms), recorded_at_ms=ms) for ms in times])
    eventually(lambda: client.counter(name)["version"] == EVENTS)
    ended = threading.Event()

    def increments():
        one, sent = new_client(), 0
        while not ended.is_set():
            headers = [{}, {"Prefer": "return=representation"}][sent % 2]
            assert one.increment(name, 1, **headers).status_code in (200, 202)
            sent += 1
        return sent

    def queries():
        one, seen = new_client(), [EVENTS]
        while not ended.is_set():
            seen.append(one.counter(name)["value"])
        return seen

    with ThreadPoolExecutor(2) as pool:
        sent, seen = pool.submit(increments), pool.submit(queries)
        try:
            rebuilt = ops("rebuild", "--stage", "local", "--counter", name, "--json")
            verified = ops("verify", "--stage", "local", "--counter", name)
        finally:
            ended.set()
    total = EVENTS + sent.result()
    eventually(lambda: client.counter(name)["version"] == total)

    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    assert json.loads(rebuilt.stdout)["failed"] == {}
    assert seen.result() == sorted(seen.result())
    assert len(seen.result()) > 10
    assert verified.returncode == 0, verified.stdout
    assert client.counter(name)["value"] == total
    assert ops("verify", "--stage", "local", "--counter", name).returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ["verify"],
        ["replay", "--dry-run"],
        ["rebuild"],
        ["redrive", "--dry-run"],
        ["adjust", "clicks", "--by=1", "--reason=a test", "--yes"],
        ["export", "-"],
        ["import", "-"],
    ],
    ids=lambda command: command[0],
)
def test_commands_are_refused_with_shards_other_than_the_logs(place, tmp_path, command):
    checkout = copy_project(tmp_path)
    configure(checkout, "local", SHARDS="4")

    done = ops(*command, "--stage", "local", at=checkout, STAGE=None)

    assert done.returncode == 1
    assert "SHARDS of stage local must be 1, as at its creation, got 4" in done.stderr
    assert done.stdout == ""
