"""
Export the log to a file, and import files into a log.

An import of an export, into an empty stage, gives the same bytes when it is exported again. Each command may be
interrupted at any request; the next run finishes it.
"""

import gzip
import hashlib
import io
import itertools
import json
import re
import sys
import threading
import types
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from chalicelib import clock, codec, event_log, log_reader, settings
from chalicelib.domain.events import LATEST_MS, Purged
from chalicelib.errors import LogUnavailableError, UnavailableError
from chalicelib.extras.verification import repair
from chalicelib.extras.verification.part_comparison import select_all
from chalicelib.read_model import queries
from ops.cli import errors
from ops.cli.errors import InputError, OperatorError
from ops.maintenance import (
    bulk_append,
    counters,
    event_file,
    export,
    import_file,
    lookups,
    missing_events,
    notes,
    purge,
)
from ops.maintenance.event_selection import EventSelection
from testkit import faults
from testkit.builders import A_TIME_MS, an_adjustment, an_event, an_event_by_caller, log_items
from tests.comparisons import stage_parts, verify_parts
from tests.environments import environment
from tests.resilience.read_model_damage import empty_tables
from tests.resilience.test_crash_points import FAULTS

pytestmark = pytest.mark.usefixtures("no_waits", "empty")

NOTE = notes.Note("moved", "ann", "start")


@pytest.fixture
def empty(engine, monkeypatch):
    """Empty the tables, because an export has the whole log, and serve the commands' own clients from the engine."""
    empty_tables(engine)
    empty_log(engine)
    monkeypatch.setattr(lookups, "boto3", types.SimpleNamespace(client=engine.client))


def empty_log(engine):
    client, table = engine.client("dynamodb"), settings.current().event_log_table
    for item in client.scan(TableName=table)["Items"]:
        client.delete_item(TableName=table, Key={name: item[name] for name in ("partition", "event_id")})


def an_id(number):
    """Return an id that determines the part. The order of ids differs from the order of times."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def append_events(number=12):
    """Append events of each type and version, of three counters, with repeated times."""
    makers: list[Any] = [an_event, an_event_by_caller, an_adjustment]
    events = [
        makers[at % 3](counter_id=f"c{at % 4}", event_id=an_id(at), by=at + 1, recorded_at_ms=A_TIME_MS + at // 2)
        for at in range(number)
    ]
    for event in events:
        event_log.append(event)
    return events


def run_export(file, selection=None, **options):
    target = file and event_file.Target(file)
    return export.export(settings.current(), selection or EventSelection(), target, **options)


def run_import(*files, note=None, dry_run=False):
    return import_file.import_files(settings.current(), [*map(str, files)], note, 10**9, dry_run=dry_run)


def read_log():
    return sorted(log_reader.scan(), key=lambda event: event.event_id)


def verify():
    return dict(verify_parts(select_all(2), lag_s=0, waits=False).numbers)


def rebuild():
    with stage_parts(select_all(2)) as comparison:
        repair.repair_all(comparison)


def write(folder, *lines, name="events.jsonl"):
    file = folder / name
    file.write_bytes(b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines))
    return file


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
@pytest.mark.parametrize("shards", ["1", "3"])
def test_export_of_an_import_gives_the_same_bytes(engine, pipeline, tmp_path, name, shards):
    """The second stage may have another number of parts."""
    append_events(40)
    run_export(tmp_path / name)
    empty_log(engine)

    with environment(SHARDS=shards):
        imported = run_import(tmp_path / name)
        pipeline.deliver()
        differences = verify()
        exported = run_export(tmp_path / f"again-{name}")

    assert (imported.facts["appended"], imported.facts["problems"], imported.holds) == (40, 0, True)
    assert differences == {}
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
    assert json.loads((tmp_path / f"{name}.manifest.json").read_text()) == {
        "format": 1,
        "stage": "pipeline",
        **{key: exported.facts[key] for key in ("events", "types", "first_recorded_at", "last_recorded_at", "sha256")},
        "unreadable": 0,
    }


def test_export_is_ordered_by_time_counter_and_id(tmp_path):
    events = append_events()

    outcome = run_export(tmp_path / "events.jsonl")

    content = (tmp_path / "events.jsonl").read_bytes()
    expected = sorted(events, key=lambda event: (event.recorded_at_ms, event.counter_id, event.event_id))
    assert [codec.decode_line(line) for line in content.splitlines()] == expected
    assert outcome.facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert outcome.facts["types"] == {"Adjusted": 4, "Incremented": 8}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.manifest.json"]


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (EventSelection(("c1",)), [1, 5, 9]),
        (EventSelection(("c3", "c1", "c1")), [1, 3, 5, 7, 9, 11]),
        (EventSelection(from_ms=A_TIME_MS + 4), [8, 9, 10, 11]),
        (EventSelection(("c1",), A_TIME_MS + 1, A_TIME_MS + 4), [5]),
        (EventSelection(to_ms=1), []),
    ],
)
def test_export_has_only_the_selected_events(tmp_path, selection, numbers):
    append_events()

    outcome = run_export(tmp_path / "events.jsonl", selection)

    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert sorted(codec.decode_line(line).by for line in lines) == [number + 1 for number in numbers]
    assert outcome.facts["events"] == len(numbers)


def test_export_to_standard_output_has_its_result_elsewhere(tmp_path, monkeypatch):
    append_events()
    run_export(tmp_path / "events.jsonl")
    stdout = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=stdout))

    outcome = run_export(None)

    assert stdout.getvalue() == (tmp_path / "events.jsonl").read_bytes()
    assert (outcome.is_on_stderr, outcome.facts["file"]) == (True, "-")


def test_documented_sql_reads_an_export(tmp_path, monkeypatch):
    events = append_events()
    run_export(tmp_path / "events.jsonl.gz")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    sums, to_parquet, to_csv = re.findall(r"```sql\n(.*?);\n(.*?);\n(.*?);\n```", text, re.DOTALL)[0]

    with duckdb.connect() as database:
        values = database.execute(sums).fetchall()
        database.execute(to_parquet)
        database.execute(to_csv)
        parquet = database.execute("SELECT count(*), min(recorded_at) FROM 'events.parquet'").fetchall()
        csv = database.execute("SELECT count(*), epoch_ms(min(recorded_at)) FROM 'events.csv'").fetchall()

    expected = {
        counter_id: [event.by for event in events if event.counter_id == counter_id]
        for counter_id in sorted({event.counter_id for event in events})
    }
    assert values == [(counter_id, sum(by), len(by)) for counter_id, by in expected.items()]
    assert parquet == csv == [(12, A_TIME_MS)]


def put_raw(engine, **fields):
    (item,) = log_items([an_event(counter_id="c1", event_id=an_id("raw"))])
    engine.client("dynamodb").put_item(TableName=settings.current().event_log_table, Item={**item, **fields})


def test_export_of_an_unreadable_event_reports_it_and_fails(engine, tmp_path):
    append_events(3)
    put_raw(engine, version={"N": "9"})

    outcome = run_export(tmp_path / "events.jsonl")

    assert (outcome.holds, outcome.facts["events"], outcome.facts["unreadable"]) == (False, 3, 1)
    assert "1 event cannot be read by this version and is missing:" in outcome.text
    assert json.loads((tmp_path / "events.jsonl.manifest.json").read_text())["unreadable"] == 1


def test_export_under_traffic_has_all_events_of_its_start(engine, tmp_path, monkeypatch):
    """Events that are appended meanwhile may be in the export or not."""
    read_in_small_pages(monkeypatch)
    events = append_events()
    arriving = [an_event(counter_id=f"c{at % 4}", recorded_at_ms=A_TIME_MS) for at in range(8)]
    later = iter(arriving)

    def append_another(attempt):
        engine.gate = faults.no_fault
        if event := next(later, None):
            event_log.append(event)
        engine.gate = append_another
        return attempt.carry_out()

    engine.gate = append_another
    run_export(tmp_path / "events.jsonl")

    exported = [codec.decode_line(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert {*events} <= {*exported} <= {*events, *arriving}
    assert len({event.event_id for event in exported}) == len(exported)


def read_in_small_pages(monkeypatch):
    scan = log_reader.scan
    monkeypatch.setattr(log_reader, "scan", lambda after=None: scan(after=after, at_once=4))
    monkeypatch.setattr(export, "_AT_ONCE", 4)


#: The requests of an export of 12 events in pages of 4, and of their import in chunks of 4: into an empty log, and into
#: one with the last 2 events, which refuses the last chunk.
EXPORT_REQUESTS, IMPORT_REQUESTS = 4, {0: 5, 2: 7}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("at", range(EXPORT_REQUESTS))
def test_interrupted_export_is_finished_by_the_next(engine, tmp_path, monkeypatch, name, at):
    read_in_small_pages(monkeypatch)
    append_events()
    run_export(tmp_path / "expected.jsonl")
    file = write(tmp_path, "old")
    engine.gate = disturbance = faults.Disturbance(at, *FAULTS[name])

    try:
        run_export(file)
    except (faults.DiedError, UnavailableError):
        assert file.read_text() == "old\n"
        assert not (tmp_path / "events.jsonl.manifest.json").exists()
        engine.gate = disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)
        outcome = run_export(file)
        assert len(disturbance.calls) <= EXPORT_REQUESTS - at + 1
        assert (outcome.facts["resumed_after"] > 0) is (at > 0)

    assert file.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def import_in_small_chunks(monkeypatch):
    monkeypatch.setattr(missing_events, "_AT_ONCE", 4)
    monkeypatch.setattr(missing_events, "_THREADS", 1)


def keep_last(engine, events, number):
    """Empty the log, except for the last events of an export."""
    empty_log(engine)
    for event in sorted(events, key=lambda event: (event.recorded_at_ms, event.counter_id))[len(events) - number :]:
        event_log.append(event)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize(
    ("present", "at"), [(present, at) for present, number in IMPORT_REQUESTS.items() for at in range(number)]
)
def test_interrupted_import_is_finished_by_the_next(engine, pipeline, tmp_path, monkeypatch, name, present, at):  # noqa: PLR0917
    import_in_small_chunks(monkeypatch)
    pipeline.new_records()
    events = append_events()
    file = tmp_path / "events.jsonl"
    run_export(file)
    pipeline.new_records()
    keep_last(engine, events, present)
    engine.gate = disturbance = faults.Disturbance(at, *FAULTS[name])

    try:
        assert run_import(file).holds
        assert len(disturbance.calls) >= IMPORT_REQUESTS[present]
    except (faults.DiedError, UnavailableError):
        pass
    engine.gate = faults.no_fault
    assert {*read_log()} <= {*events}
    again = run_import(file)
    pipeline.deliver()

    assert again.facts["appended"] + again.facts["present"] == len(events)
    assert {*read_log()} == {*events}
    assert verify() == {}


def test_undisturbed_commands_make_the_asserted_number_of_requests(engine, tmp_path, monkeypatch):
    read_in_small_pages(monkeypatch)
    import_in_small_chunks(monkeypatch)
    events = append_events()
    file = tmp_path / "events.jsonl"

    assert count_requests(engine, run_export, file) == EXPORT_REQUESTS
    for present, number in IMPORT_REQUESTS.items():
        keep_last(engine, events, present)
        assert count_requests(engine, run_import, file) == number


def count_requests(engine, command, file):
    engine.gate = disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)
    assert command(file).holds
    engine.gate = faults.no_fault
    return len(disturbance.calls)


def test_import_reads_first_only_where_the_log_had_the_events(engine, tmp_path, monkeypatch):
    """DynamoDB charges a refused write: an import that is repeated for a longer file has one refused transaction."""
    append_events(40)
    run_export(tmp_path / "events.jsonl")
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines(keepends=True)
    empty_log(engine)
    run_import(write(tmp_path, *lines[:16], name="first.jsonl"))
    run_import(write(tmp_path, *lines[24:32], name="third.jsonl"))
    import_in_small_chunks(monkeypatch)
    operations: list[str] = []

    def note(attempt):
        operations.append(attempt.operation)
        return attempt.carry_out()

    engine.gate = note

    assert run_import(write(tmp_path, *lines, name="all.jsonl")).facts["appended"] == 16

    read, append = "BatchGetItem", "TransactWriteItems"
    chunks = [[read]] * 4 + [[read, append], [append], [append, read], [read], [read, append], [append]]
    assert [each for each in operations if each in {read, append}] == [*itertools.chain(*chunks)]


@pytest.mark.parametrize("when", ["from start", "other selection", "other table", "six hours later"])
def test_export_starts_over_if_its_position_does_not_apply(engine, tmp_path, monkeypatch, when):
    read_in_small_pages(monkeypatch)
    append_events()
    engine.gate = faults.Disturbance(2, faults.die_before, every_attempt=False)
    with pytest.raises(faults.DiedError):
        run_export(tmp_path / "events.jsonl")
    engine.gate = faults.no_fault
    now_ms = clock.now_ms()
    if when == "six hours later":
        monkeypatch.setattr(clock, "now_ms", lambda: now_ms + 6 * 3_600_000)
    if when == "other table":
        monkeypatch.setattr(lookups, "table_ids", lambda *_: {"another": "table"})
    selection = EventSelection(to_ms=LATEST_MS if when == "other selection" else None)

    outcome = run_export(tmp_path / "events.jsonl", selection, from_start=when == "from start")

    assert (outcome.facts["resumed_after"], outcome.facts["events"]) == (0, 12)


def test_export_of_counters_resumes_within_a_counter(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_AT_ONCE", 2)
    append_events()
    engine.gate = faults.Disturbance(2, faults.die_before, every_attempt=False)
    selection = EventSelection(("c2", "c0", "c1"))
    with pytest.raises(faults.DiedError):
        run_export(tmp_path / "events.jsonl", selection)
    engine.gate = faults.no_fault

    outcome = run_export(tmp_path / "events.jsonl", selection)

    assert (outcome.facts["resumed_after"], outcome.facts["events"]) == (6, 9)


def test_second_export_to_the_same_file_is_refused(tmp_path):
    append_events()
    with export._open_staging(event_file.Target(tmp_path / "events.jsonl")) as first:
        first.resume("another")
        for from_start in (False, True):
            with pytest.raises(OperatorError, match=r"Another export is writing .*events.jsonl\."):
                run_export(tmp_path / "events.jsonl", from_start=from_start)


def test_export_that_is_interrupted_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    append_events()
    file = write(tmp_path, "old")
    with monkeypatch.context() as patched:
        patched.setattr(event_file, "write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_export(file)
    names = {path.name for path in tmp_path.iterdir()}

    outcome = run_export(file)

    assert names == {"events.jsonl", "events.jsonl.partial"}
    assert (outcome.facts["resumed_after"], outcome.facts["events"]) == (12, 12)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", [".", "folder", "no-such-folder/events.jsonl", "/dev/null"])
def test_file_that_cannot_be_replaced_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=r"FILE must be a regular file|No such folder"):
        event_file.resolve_target(name)


def test_import_again_writes_nothing(engine, tmp_path):
    append_events()
    run_export(tmp_path / "events.jsonl")
    engine.gate = disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)

    outcome = run_import(tmp_path / "events.jsonl", tmp_path / "events.jsonl")

    assert (outcome.facts["appended"], outcome.facts["present"], outcome.holds) == (0, 24, True)
    assert len(disturbance.calls) == 2


def test_dry_run_of_an_import_writes_nothing(engine, tmp_path):
    append_events()
    run_export(tmp_path / "events.jsonl")
    empty_log(engine)

    outcome = run_import(tmp_path / "events.jsonl", dry_run=True)

    assert outcome.text.splitlines()[0] == (
        "12 events would be appended (4 Adjusted, 8 Incremented), 0 already in the log, 0 problems."
    )
    assert read_log() == []


@pytest.mark.parametrize("finds_nothing", [False, True])
@pytest.mark.parametrize(
    "change",
    [{"by": 9}, {"recorded_at_ms": A_TIME_MS + 1}, {"counter_id": "c1", "event_id": an_id(1), "by": 3}],
)
def test_event_that_differs_from_the_recorded_one_is_refused(tmp_path, change, finds_nothing):
    """The event is refused even if the first, stale read does not find the recorded event."""
    recorded = an_event(counter_id="c1", event_id=an_id(1), by=2)
    event_log.append(recorded)
    fields = {name: getattr(recorded, name) for name in ("counter_id", "event_id", "by", "recorded_at_ms")}
    other, fresh = an_event(**fields | change), an_event(counter_id="c1")
    file = write(tmp_path, codec.encode_line(other), codec.encode_line(fresh))

    if finds_nothing:
        with faults.inject("BatchGetItem", faults.find_nothing):
            outcome = run_import(file)
    else:
        outcome = run_import(file)

    assert outcome.facts["listed"] == [
        f"{file}, line 1: event {an_id(1)} of counter c1 is already recorded as Incremented +2 with different content"
    ]
    assert (outcome.holds, outcome.facts["appended"]) == (False, 1)
    assert {*read_log()} == {recorded, fresh}


def test_purge_that_was_repeated_at_another_time_is_the_same(tmp_path):
    """A purge of several parts that was interrupted and repeated has another time in each part."""
    ids = [purge.make_purge_id(A_TIME_MS, part, 2) for part in range(2)]
    with environment(SHARDS="2"):
        for number, event_id in enumerate(ids):
            event_log.append(Purged("c1", event_id, 0, A_TIME_MS + number, A_TIME_MS, "spam", "ann"))
        run_export(tmp_path / "events.jsonl")

        outcome = run_import(tmp_path / "events.jsonl")

    assert (outcome.facts["appended"], outcome.facts["problems"]) == (0, 0)


def test_event_under_the_id_of_an_unreadable_one_is_refused(engine, tmp_path):
    put_raw(engine, version={"N": "9"})
    file = write(tmp_path, codec.encode_line(an_event(counter_id="c1", event_id=an_id("raw"))))

    (problem,) = run_import(file).facts["listed"]

    assert "is already recorded as an event that this version cannot read (unknown event type" in problem


def test_repeated_lines_are_appended_once_and_compared(tmp_path):
    event = an_event(counter_id="c1", event_id=an_id(1))
    other = an_event(counter_id="c1", event_id=an_id(1), by=5)
    file = write(tmp_path, *map(codec.encode_line, [event, event, other]))

    outcome = run_import(file)

    assert (outcome.facts["appended"], outcome.facts["present"], outcome.facts["problems"]) == (1, 1, 1)
    assert read_log() == [event]


GOOD = codec.encode_line(an_event(counter_id="good"))
A_PURGE = Purged("c1", an_id(7), 0, A_TIME_MS, A_TIME_MS, "spam", "ann")
LOW = an_event(event_id="00000000-0000-0000-8000-000000000001")

HOSTILE = {
    "not JSON": (b"junk\n", "the line is not JSON in UTF-8"),
    "empty line": (b"\n", "the line is not JSON in UTF-8"),
    "not UTF-8": (b'"\xff"\n', "the line is not JSON in UTF-8"),
    "deep": (b"[" * 60_000 + b"\n", "the line is not JSON in UTF-8"),
    "large number": (b"9" * 60_000 + b"\n", "the line is not JSON in UTF-8"),
    "long line": (b'"' + b"x" * 200_000 + b'"\n', "it has more than 65,536 bytes"),
    "not an object": (b"[1]\n", "an event must be an object, got [1]"),
    "repeated member": (b'{"by":1,"by":2}\n', "an event has a duplicate member: 'by'"),
    "newer event": (
        GOOD.replace('"version":1', '"version":9').encode(),
        "unknown event type or version: 'Incremented' 9",
    ),
    "no id": (GOOD.replace("event_id", "id").encode() + b"\n", "event_id must be a UUID, got None"),
    "float": (GOOD.replace('"by":1', '"by":1.0').encode(), "by must be an integer from 1 to"),
    "not a number": (GOOD.replace('"by":1', '"by":NaN').encode(), "by must be an integer from 1 to"),
    "counter": (GOOD.replace('"good"', '"a#1"').encode(), "counter_id must be 1 to 64 characters"),
    "purge with a usual id": (codec.encode_line(A_PURGE).encode(), "event_id must be lower than 00000000-0000-1"),
    "increment with a low id": (codec.encode_line(LOW).encode(), "event_id must be not lower than 00000000-0000-1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_invalid_line_is_refused_and_the_others_are_imported(tmp_path, kind):
    line, reason = HOSTILE[kind]
    file = write(tmp_path, GOOD, line.rstrip(b"\n") + b"\n", GOOD)

    outcome = run_import(file)

    (problem,) = outcome.facts["listed"]
    assert problem.startswith(f"{file}, line 2: {reason}")
    assert (outcome.holds, outcome.facts["appended"], outcome.facts["present"]) == (False, 1, 1)


@pytest.mark.parametrize(
    ("content", "appended"),
    [
        pytest.param(gzip.compress(f"{GOOD}\n".encode() * 3)[:-3], 1, id="truncated"),
        pytest.param(b"not gzip", 0, id="not compressed"),
        pytest.param(gzip.compress(b"x" * 1000)[:15] + b"xxxxxxxxx", 0, id="damaged"),
    ],
)
def test_damaged_compressed_file_is_a_problem(tmp_path, content, appended):
    file = write(tmp_path, content, name="events.jsonl.gz")

    outcome = run_import(file)

    assert "the compressed file is damaged or truncated" in outcome.facts["listed"][-1]
    assert (outcome.holds, outcome.facts["appended"]) == (False, appended)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda lines: lines[:-1], "it has 11 lines for 12 events"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "it was edited, or its lines are in a different order"),
        (lambda lines: lines[::-1], "it was edited, or its lines are in a different order"),
        (lambda lines: [*lines, lines[0]], "it has 13 lines for 12 events"),
    ],
)
def test_file_that_differs_from_its_manifest_is_refused(engine, tmp_path, spoil, reason):
    append_events()
    file = tmp_path / "events.jsonl"
    run_export(file)
    empty_log(engine)
    file.write_bytes(b"".join(spoil(file.read_bytes().splitlines(keepends=True))))

    outcome = run_import(file)

    assert outcome.facts["listed"] == [
        f"{file}: it differs from its manifest: {reason}. Nothing was imported from it. To import it as it is, remove "
        "events.jsonl.manifest.json"
    ]
    assert (outcome.holds, read_log()) == (False, [])


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ('{"format": 2}', "it has format 2, but this program reads formats up to 1"),
        ("{", "its manifest events.jsonl.manifest.json is not JSON"),
        ("[]", "its manifest events.jsonl.manifest.json must have the members format, events and sha256"),
        ('{"format": 1, "events": 1}', "its manifest events.jsonl.manifest.json must have the members format, events"),
    ],
)
def test_file_with_an_unusable_manifest_is_refused(tmp_path, manifest, reason):
    file = write(tmp_path, GOOD)
    write(tmp_path, manifest, name="events.jsonl.manifest.json")
    other = write(tmp_path, GOOD, name="other.jsonl")

    outcome = run_import(file, other)

    assert outcome.facts["listed"][0].startswith(f"{file}: {reason}")
    assert (outcome.holds, outcome.facts["appended"]) == (False, 1)


def test_missing_file_is_refused_before_anything_is_written(tmp_path):
    file = write(tmp_path, GOOD)

    with pytest.raises(InputError, match=r"No such file: nowhere\.jsonl"):
        run_import(file, "nowhere.jsonl")

    assert read_log() == []


def test_only_the_first_problems_are_listed(tmp_path):
    outcome = run_import(write(tmp_path, *["junk"] * 30))

    assert outcome.facts["problems"] == 30
    assert outcome.text.splitlines()[-1] == "... and 10 more"


def test_every_refused_event_is_counted_and_the_first_are_listed(tmp_path):
    events = [an_event(counter_id="c1", event_id=an_id(at), by=1) for at in range(150)]
    for event in events:
        event_log.append(event)

    outcome = run_import(write(tmp_path, *[codec.encode_line(replace(event, by=2)) for event in events]))

    assert (outcome.facts["problems"], len(outcome.facts["listed"])) == (150, 20)
    assert outcome.lines[-1] == "... and 130 more"


def test_import_names_counters_that_clients_cannot_read(tmp_path):
    counters.change("hide", ("hidden",))
    events = [an_event(counter_id=name) for name in ("hidden", "seen")]
    file = write(tmp_path, *map(codec.encode_line, events))
    with environment(COUNTERS="seen"):
        outcome = run_import(file)
    counters.change("show", ("hidden",))

    assert outcome.facts["unknown_counters"] == ["hidden"]
    assert "Clients cannot read these counters: hidden. Run `python -m ops counters add`" in outcome.text


@pytest.mark.parametrize(("before", "after"), [("1", "3"), ("3", "1"), ("2", "3"), ("3", "3")])
def test_purge_voids_the_same_events_in_a_stage_with_other_parts(engine, pipeline, tmp_path, before, after):
    """A purge is copied to each part of the second stage."""
    with environment(SHARDS=before):
        junk = [an_event(counter_id="junk", event_id=an_id(at), recorded_at_ms=A_TIME_MS + at) for at in range(9)]
        pipeline.record(*junk)
        note = notes.Note("spam", "ann")
        purge.purge(settings.current(), ["junk"], note, is_open=lambda _: False, confirm=lambda _: None, dry_run=False)
        pipeline.record(an_event(counter_id="junk", by=5, recorded_at_ms=A_TIME_MS + 100))
        run_export(tmp_path / "events.jsonl")
    empty_log(engine)
    empty_tables(engine)

    with environment(SHARDS=after):
        outcome = run_import(tmp_path / "events.jsonl")
        pipeline.deliver()
        rebuild()
        differences, value = verify(), queries.get_counter("junk").value
        again = run_import(tmp_path / "events.jsonl")

    assert differences == {}
    assert value == 5
    assert outcome.text.splitlines()[-1].endswith("Next: python -m ops rebuild --stage pipeline")
    assert (again.facts["appended"], again.holds) == (0, True)


def test_start_values_are_recorded_once(pipeline, tmp_path):
    """The events of start values have the ids that `counters add --start` gives them."""
    file = write(tmp_path, "\ufeffname,counter_id,value\r\n".encode(), "A,a,51200", "B,b,-3", "C,c,0", "", name="v.csv")

    first = run_import(file, note=NOTE)
    pipeline.deliver()
    again = run_import(file, note=NOTE)

    assert (first.facts["appended"], first.facts["types"], first.holds) == (2, {"Adjusted": 2}, True)
    assert (again.facts["appended"], again.facts["present"], again.holds) == (0, 2, True)
    assert {name: queries.get_counter(name).value for name in "abc"} == {"a": 51200, "b": -3, "c": 0}
    command = counters.build_start("a", 51200, "moved", "ann", "start")
    assert counters.add(("a",), command).facts["adjustment"]["recorded_before"]
    assert verify() == {}


def test_start_value_that_differs_from_the_recorded_one_is_refused(tmp_path):
    run_import(write(tmp_path, "counter_id,value", "a,5", name="v.csv"), note=NOTE)
    file = write(tmp_path, "counter_id,value", "a,6", "b,7", "b,8", name="w.csv")

    outcome = run_import(file, note=NOTE)

    assert [line.partition(": ")[0] for line in outcome.facts["listed"]] == [f"{file}, line 2", f"{file}, line 4"]
    assert (outcome.holds, outcome.facts["appended"]) == (False, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a#b,1", "counter_id must be 1 to 64 characters"),
        ("a", "value must be an integer from -(2**53 - 1) to 2**53 - 1, got ''"),
        ("a,1.5", "value must be an integer from -(2**53 - 1) to 2**53 - 1, got '1.5'"),
        ("a,9007199254740992", "value must be an integer from"),
        (b"\xff,1\n", "the line is not in UTF-8"),
    ],
)
def test_invalid_row_is_refused_and_the_others_are_imported(tmp_path, row, reason):
    file = write(tmp_path, "counter_id,value", row, "b,1", name="v.csv")

    outcome = run_import(file, note=NOTE)

    assert outcome.facts["listed"][0].startswith(f"{file}, line 2: {reason}")
    assert outcome.facts["appended"] == 1


def test_csv_is_read_up_to_a_field_with_a_line_break(tmp_path):
    """The rest of such a field may look like a row."""
    file = write(tmp_path, "counter_id,value,note", "a,1,x", 'b,5,"first', 'c,7,x"', "d,2,x", name="v.csv")

    outcome = run_import(file, note=NOTE)

    reason = "the line is not CSV, or a field has a line break. The remaining lines are not read"
    assert outcome.facts["listed"] == [f"{file}, line 3: {reason}"]
    assert [event.counter_id for event in read_log()] == ["a"]


@pytest.mark.parametrize("header", ["a,5", "counter_id", "counter_id,value,value"])
def test_csv_without_its_header_is_refused(tmp_path, header):
    file = write(tmp_path, header, "b,1", name="v.csv")

    outcome = run_import(file, note=NOTE)

    assert outcome.facts["listed"] == [
        f"{file}, line 1: the header must have the columns counter_id and value, each once"
    ]
    assert read_log() == []


@pytest.mark.parametrize("note", [("", None, "k"), ("ok", "\n", "k"), ("ok", "ann", "x" * 201)])
def test_malformed_note_of_start_values_is_refused(note):
    with pytest.raises(InputError, match="must be 1 to 200 printable characters"):
        notes.build_note(*note)


def test_import_that_meets_a_concurrent_one_appends_the_others(engine, tmp_path):
    """After the read, another import appends one event unchanged, and one event with different content."""
    same, other, fresh = (an_event(counter_id="c1", event_id=an_id(at)) for at in range(3))
    file = write(tmp_path, *map(codec.encode_line, [same, other, fresh]))

    def append_others(attempt):
        engine.gate = faults.no_fault
        if attempt.operation == "TransactWriteItems":
            event_log.append(same)
            event_log.append(replace(other, by=7))
        else:
            engine.gate = append_others
        return attempt.carry_out()

    engine.gate = append_others
    outcome = run_import(file)

    assert (outcome.facts["appended"], outcome.facts["present"], outcome.facts["problems"]) == (1, 1, 1)
    assert {*read_log()} == {same, replace(other, by=7), fresh}


#: Temporary faults, by the operation that meets them. The SDK alone makes four attempts, or one at a transaction.
PASSING = {
    "a read is throttled": ("BatchGetItem", faults.throttle),
    "a read exceeds the throughput": ("BatchGetItem", faults.exceed_throughput),
    "a transaction is throttled": ("TransactWriteItems", faults.throttle),
    "a member is throttled": ("TransactWriteItems", faults.cancel_for(None, "ThrottlingError")),
    "a member exceeds the throughput": ("TransactWriteItems", faults.cancel_for("ProvisionedThroughputExceeded", None)),
    "a member has a conflict": ("TransactWriteItems", faults.cancel),
    "an answer is late": ("TransactWriteItems", faults.respond_late),
}


@pytest.mark.parametrize("name", PASSING)
def test_import_waits_until_throttling_ends(engine, pipeline, tmp_path, name):
    operation, fault = PASSING[name]
    events = append_events()
    run_export(tmp_path / "events.jsonl")
    empty_log(engine)
    pipeline.new_records()
    engine.gate = throttle = faults.Throttle(operation, fault, times=20)

    outcome = run_import(tmp_path / "events.jsonl")
    pipeline.deliver()

    assert throttle.left == 0
    assert outcome.holds
    assert {*read_log()} == {*events}
    assert verify() == {}


@pytest.mark.parametrize("reason", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_import_that_stays_throttled_ends_with_the_error(engine, tmp_path, reason):
    """Later commands of the process have only the SDK's retries."""
    append_events()
    run_export(tmp_path / "events.jsonl")
    empty_log(engine)
    engine.gate = throttle = faults.Throttle("TransactWriteItems", faults.cancel_for(None, reason), faults.ALWAYS)

    with pytest.raises(LogUnavailableError, match="TransactionCanceledException") as raised:
        run_import(tmp_path / "events.jsonl")

    assert errors.exit_status(raised.value) == 3
    assert faults.ALWAYS - throttle.left == 30
    with pytest.raises(LogUnavailableError):
        bulk_append.append_all([an_event(), an_event()])
    assert faults.ALWAYS - throttle.left == 31


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_import_that_is_refused_is_not_retried(engine, tmp_path, code):
    file = write(tmp_path, GOOD)
    engine.gate = refusal = faults.Throttle("TransactWriteItems", faults.refuse(code), faults.ALWAYS)

    with pytest.raises(LogUnavailableError, match=code):
        run_import(file)

    assert faults.ALWAYS - refusal.left == 1


def test_import_keeps_requests_in_flight(engine, tmp_path, monkeypatch):
    """In the meantime, the import reads the next lines, but not beyond the requests in flight."""
    monkeypatch.setattr(missing_events, "_AT_ONCE", 1)
    monkeypatch.setattr(missing_events, "_THREADS", 3)
    begun = threading.Barrier(3, timeout=60)
    read: list[int] = []

    def wait_for_all(attempt):
        if attempt.operation == "TransactWriteItems":
            begun.wait()
        return attempt.carry_out()

    def read_lines():
        for at in range(9):
            read.append(at)
            yield missing_events.Candidate(an_event(event_id=an_id(at)), "a file", at, lambda _, __: True)

    engine.gate = wait_for_all
    monkeypatch.setattr(missing_events, "_append", note_lines(missing_events._append, read))
    outcome = missing_events.append_missing(settings.current(), read_lines(), 10**9, dry_run=False)

    assert outcome.facts["appended"] == 9


def note_lines(append, read):
    """Check how many lines were read when a chunk is appended."""

    def append_and_check(chunk, **options):
        assert len(read) <= chunk[0].line + 5
        return append(chunk, **options)

    return append_and_check
