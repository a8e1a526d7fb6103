"""README and docs agree with the code: routes, settings, commands and files."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from chalicelib import settings, telemetry
from chalicelib.extras.reports import definitions
from chalicelib.extras.sql import schema
from ops.__main__ import main
from tests.doc_pages import PAGES, PROJECT, README, TEXT, anchors, section
from tests.permissions import NEEDED

TEMPLATE = (PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")


def test_every_route_is_there_and_no_other():
    import app

    declared = {(method, path) for path, methods in app.app.routes.items() for method in methods}

    assert set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", section("The API"), re.MULTILINE)) == declared


def test_every_setting_is_there_with_its_default():
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| (none|`[^`]+`) \|", section("Settings"), re.MULTILINE)
    found = settings.read({"STAGE": "dev"})
    defaults = {name: getattr(found, name.lower()) for name, _ in rows}

    assert {name.lower() for name, _ in rows} == {field.name for field in dataclasses.fields(settings.Settings)}
    for name, default in rows:
        if default.strip("`") in defaults:
            both = settings.read({"STAGE": "dev", default.strip("`"): "sqlite:///file"})
            assert getattr(both, name.lower()) == "sqlite:///file"
        elif name != "STAGE":
            assert default.strip("`") == ("none" if defaults[name] in ("", None) else str(defaults[name]))


def test_every_metric_is_there_with_its_unit_and_no_other():
    rows = re.findall(r"^\| `([A-Z][A-Za-z]+)` \| (\w+) \|", section("Logs and metrics"), re.MULTILINE)

    assert {name: unit.capitalize() for name, unit in rows} == telemetry.METRICS


def test_every_alarm_is_there_with_what_it_means_and_what_to_do_and_no_other():
    alarms = re.findall(r"^      AlarmName: !Sub counter-\$\{Stage\}-(\S+)$", TEMPLATE, re.MULTILINE)
    (table,) = re.findall(r"^\| alarm \| what it means \| what to do \|\n\|---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]

    assert sorted(name for named, _, _ in rows for name in re.findall(r"`([^`]+)`", named)) == sorted(alarms)
    assert all(meaning and action for _, meaning, action in rows)


def test_what_watching_costs_is_said_of_as_many_alarms_and_metrics_as_there_are():
    alarms = TEMPLATE.count("Type: AWS::CloudWatch::Alarm")

    said = " ".join(section("Operating").split())

    assert f"{alarms} alarms ${alarms * 0.10:.2f}" in said
    assert f"{len(telemetry.METRICS)} metrics of our own at most ${len(telemetry.METRICS) * 0.30:.2f}" in said


def test_what_can_be_set_of_the_template_is_there_with_its_default():
    parameters = TEMPLATE.partition("\nParameters:\n")[2].partition("\n\n")[0]
    defaults = dict(re.findall(r"^  (\w+):\n    Type: \w+\n    Default: \"?(\w+)\"?$", parameters, re.MULTILINE))

    rows = dict(re.findall(r"^\| `([A-Z][a-z]\w+)` \| `(\w+)` \|", section("Operating"), re.MULTILINE))

    assert rows == {name: default for name, default in defaults.items() if name != "Shards"}


def test_everybody_is_there_with_what_they_may_do():
    may = section("Permissions")
    head, *rows = re.findall(r"^\| (`?\w+`?) \|(.*) \|$", may, re.MULTILINE)
    resources = [cell.strip() for cell in head[1].split("|")]
    told = {
        who.strip("`"): dict(
            zip(resources, (set(re.findall(r"`(\w+)`", cell)) for cell in cells.split("|")), strict=True)
        )
        for who, cells in rows
    }

    for who, needed in NEEDED.items():
        of_log_and_stream = {*needed.get("event log", ()), *needed.get("stream", ())}
        assert told.pop(who) == {name: {*needed.get(name, ())} for name in resources} | {"event log": of_log_and_stream}
    assert told == {}


def test_every_make_target_is_there_and_no_other():
    targets = set(re.findall(r"^([a-z]+):.*##", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = re.findall(r"(?:`make ([a-z]+)`)|(?:^make ([a-z]+)  )", TEXT, re.MULTILINE)

    assert {one or other for one, other in named} == targets - {"help"}


def test_the_numbers_of_the_proof_are_those_that_are_asserted():
    from tests.resilience import (
        load,
        mutants,
        test_arbitrary_messages,
        test_arbitrary_requests,
        test_counting_model,
        test_crash_points,
        test_interleavings,
        test_races,
        test_repair,
        test_sql_crash_points,
        test_sql_rebuild,
        test_state_machine,
    )

    proof = section("The proof")
    tests = [test for name, test in vars(test_races).items() if name.startswith("test_")]
    races = [test for test in tests if "pipeline" in inspect.signature(test).parameters]

    assert f"| {sum(test_counting_model.STATES.values()):,}, all of them |" in proof
    assert f"| {test_crash_points.POINTS:,}, all of them |" in proof
    assert f"| {test_repair.POINTS:,}, all of them |" in proof
    assert f"| {test_sql_crash_points.POINTS}, all of them |" in proof
    assert f"| {test_sql_rebuild.POINTS}, all of them |" in proof
    assert f"| {sum(test_interleavings.ORDERS.values())}, all of them |" in proof
    assert f"| {test_interleavings.SEEDS} in the gate |" in proof
    assert f"`make load` | {load.EVENTS:,} in CI |" in proof
    assert f"increments by {load.CLIENTS} clients" in proof
    assert f"| {len(races)} races |" in proof
    assert f"| {test_state_machine.RUNS} of {test_state_machine.STEPS} steps |" in proof
    assert f"| {2 * test_arbitrary_messages.EXAMPLES} batches, {test_arbitrary_requests.EXAMPLES} requests |" in proof
    assert f"| {len(mutants.MUTANTS)}, see `docs/mutants.md` |" in proof


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m ops (\w+)", TEXT))))
def test_every_operators_command_exists(command):
    assert command in main.commands


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:chalicelib|tests|infrastructure|bench|ops|\.chalice)/[\w./]+)`", TEXT)))
)
def test_every_file_it_names_exists(path):
    assert (PROJECT / path).exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", PAGES[page])

    for path, anchor in links:
        target = (PROJECT / page).parent / path if path else PROJECT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


def test_every_page_is_linked_from_readme():
    assert {page for page in PAGES if f"({page}" not in README} <= {"README.md", "docs/mutants.md"}


def test_every_view_is_there_with_its_columns_and_no_other():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|:]+: (.+) \|$", section("Views"), re.MULTILINE)
    told = {
        name: set(re.findall(r"`(\w+)`", columns)) for names, columns in rows for name in re.findall(r"`(\w+)`", names)
    }
    steps = {"daily": {"hour", "week"}, "hourly": {"day", "week"}, "weekly": {"day", "hour"}}

    assert told.keys() == {view.table.name for view in schema.views} == definitions.REPORTS.keys()
    for name, report in definitions.REPORTS.items():
        assert told[name] - steps.get(name, set()) == {column.name for column in report.columns}


def test_the_application_is_as_long_as_it_says():
    lines = sum(
        len(path.read_text(encoding="utf-8").splitlines())
        for path in (PROJECT / "app.py", *(PROJECT / "chalicelib").rglob("*.py"))
    )

    assert f"some {round(lines / 500) * 500:,} lines" in README
