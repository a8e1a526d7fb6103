"""README and docs agree with the code: routes, settings, commands and files."""

import dataclasses
import inspect
import re

import pytest

import chalicelib
from chalicelib import settings, telemetry
from chalicelib.extras.reports import definitions
from chalicelib.extras.sql import schema
from chalicelib.projections import READ_MODEL, SQL
from ops.__main__ import main
from tests.doc_pages import PAGES, PROJECT, README, TEXT, anchors, section
from tests.permissions import NEEDED

TEMPLATE = (PROJECT / "infrastructure" / "template.yaml").read_text(encoding="utf-8")

#: The metrics that the documents list. Each additional projection has the metrics of SQL, with a different prefix.
METRICS = telemetry.list_metrics([READ_MODEL, SQL])

#: The stage's template and the template of an optional projection.
TEMPLATES = TEMPLATE + (PROJECT / "infrastructure" / "projection.yaml").read_text(encoding="utf-8")


def test_api_page_lists_all_routes():
    import app

    declared = {(method, path) for path, methods in app.app.routes.items() for method in methods if method != "HEAD"}

    assert set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", section("Routes"), re.MULTILINE)) == declared


def test_configuration_lists_all_settings_with_defaults():
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| (none|`[^`]+`) \|", section("Settings"), re.MULTILINE)
    found = settings.read({"STAGE": "dev"})
    read = {name: getattr(found, name.lower()) for name, _ in rows}
    defaults = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in read.items()}

    assert {name.lower() for name, _ in rows} == {field.name for field in dataclasses.fields(settings.Settings)} - {
        "switches"
    }
    for name, default in rows:
        if default.strip("`") in defaults:
            both = settings.read({"STAGE": "dev", default.strip("`"): "sqlite:///file"})
            assert getattr(both, name.lower()) == "sqlite:///file"
        elif name != "STAGE":
            assert default.strip("`") == ("none" if defaults[name] in ("", None) else str(defaults[name]))


def test_runbook_lists_all_metrics_with_units():
    rows = re.findall(r"^\| `([A-Z][A-Za-z]+)` \| (\w+) \|", section("Metrics"), re.MULTILINE)

    assert {name: unit.capitalize() for name, unit in rows} == METRICS


def test_runbook_lists_all_alarms_with_actions():
    """The alarms of optional projections have the names of the SQL projection."""
    with_names = TEMPLATES.replace("${Name}", SQL.name).replace("${Function}", SQL.function)
    alarms = re.findall(r"^      AlarmName: !Sub counter-\$\{Stage\}-(\S+)$", with_names, re.MULTILINE)
    rows = re.findall(r"^\| (`.+?) \| (.+) \| (.+) \|$", section("Alarms"), re.MULTILINE)

    assert sorted(name for named, _, _ in rows for name in re.findall(r"`([^`]+)`", named)) == sorted(alarms)
    assert all(meaning and action for _, meaning, action in rows)


def test_cost_of_monitoring_counts_all_alarms_and_metrics():
    alarms = TEMPLATES.count("Type: AWS::CloudWatch::Alarm")
    watched = TEMPLATES.count("MetricName: ")  # AWS charges an alarm for each metric

    cost = " ".join(section("Cost of monitoring").split())

    assert f"${watched * 0.10:.2f} for {alarms} alarms on {watched} metrics" in cost
    assert f"at most ${len(METRICS) * 0.30:.2f} for {len(METRICS)} custom metrics" in cost


def test_configuration_lists_all_template_parameters():
    parameters = TEMPLATE.partition("\nParameters:\n")[2].partition("\n\n")[0]
    defaults = dict(re.findall(r"^  (\w+):\n    Type: \w+\n    Default: \"?(\w+)\"?$", parameters, re.MULTILINE))

    rows = dict(re.findall(r"^\| `([A-Z][a-z]\w+)` \| `(\w+)` \|", section("Template parameters"), re.MULTILINE))

    assert rows == {name: default for name, default in defaults.items() if name != "Shards"}


def test_permissions_lists_all_actions_of_each_role():
    may = section("Permissions")
    head, *rows = re.findall(r"^\| (`?\w+`?) \|(.*) \|$", may, re.MULTILINE)
    resources = [cell.strip() for cell in head[1].split("|")]
    actions = {
        who.strip("`"): dict(
            zip(resources, (set(re.findall(r"`(\w+)`", cell)) for cell in cells.split("|")), strict=True)
        )
        for who, cells in rows
    }

    for who, needed in NEEDED.items():
        of_log_and_stream = {*needed.get("event log", ()), *needed.get("stream", ())}
        assert actions.pop(who) == {name: {*needed.get(name, ())} for name in resources} | {
            "event log": of_log_and_stream
        }
    assert actions == {}


def test_documents_name_all_make_targets():
    targets = set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = re.findall(r"`make ([a-z-]+)", TEXT)

    assert set(named) == targets - {"help"}


def test_testing_page_states_the_asserted_numbers():
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

    page = section("Resilience")
    tests = [test for name, test in vars(test_races).items() if name.startswith("test_")]
    races = [test for test in tests if "pipeline" in inspect.signature(test).parameters]

    assert f"| {sum(test_counting_model.STATES.values()):,}, all of them |" in page
    assert f"| {test_crash_points.POINTS:,}, all of them |" in page
    assert f"| {test_repair.POINTS:,}, all of them |" in page
    assert f"| {test_sql_crash_points.POINTS}, all of them |" in page
    assert f"| {test_sql_rebuild.POINTS}, all of them |" in page
    assert f"| {sum(test_interleavings.ORDERS.values())}, all of them |" in page
    assert f"| {test_interleavings.SEEDS} in the gate |" in page
    assert f"`make load` | {load.EVENTS:,} in CI |" in page
    assert f"increments by {load.CLIENTS} clients" in page
    assert f"| {len(races)} races |" in page
    assert f"| {test_state_machine.RUNS} of {test_state_machine.STEPS} steps |" in page
    assert f"| {2 * test_arbitrary_messages.EXAMPLES} batches, {test_arbitrary_requests.EXAMPLES} requests |" in page
    assert f"| {len(mutants.MUTANTS)}, see `docs/mutants.md` |" in page


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m ops (\w+)", TEXT))))
def test_documented_command_exists(command):
    assert command in main.commands


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"`((?:chalicelib|tests|infrastructure|benchmarks|ops|web|scripts|\.chalice)/[\w./]+)`", TEXT))
    ),
)
def test_documented_file_exists(path):
    assert (PROJECT / path).exists()


@pytest.mark.parametrize("page", PAGES)
def test_link_has_a_target(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", PAGES[page])

    for path, anchor in links:
        target = (PROJECT / page).parent / path if path else PROJECT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


def test_readme_links_every_page():
    """Each decision is linked from the index of decisions."""
    index = PAGES["docs/decisions/README.md"].replace("](", "](docs/decisions/")

    assert {page for page in PAGES if f"({page}" not in README + index} == {"README.md"}


def test_readme_and_changelog_state_the_version():
    assert f"version {chalicelib.__version__}." in README
    assert f"\n## [{chalicelib.__version__}] - " in PAGES["CHANGELOG.md"]


def test_readme_has_at_most_250_lines():
    assert len(README.splitlines()) <= 250


def test_readme_states_the_numbers_of_the_testing_page():
    bullets = section("How it is tested").partition("- ")[2]
    numbers = re.findall(r"[\d,]*\d", bullets)

    assert numbers
    assert [number for number in numbers if number not in section("Resilience")] == []


def test_readme_shows_the_source_of_counting():
    (code,) = re.findall(r"```python\n(.*?)```", section("Exactly once in 25 lines"), re.DOTALL)
    source = iter((PROJECT / "chalicelib" / "read_model" / "store.py").read_text(encoding="utf-8").splitlines())
    lines = [line.strip() for line in code.splitlines() if line.strip()]

    assert len(lines) <= 25
    for line in lines:
        assert any(line in other for other in source), line


def test_sql_page_lists_all_views_with_columns():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|:]+: (.+) \|$", section("Views"), re.MULTILINE)
    view_columns = {
        name: set(re.findall(r"`(\w+)`", columns)) for names, columns in rows for name in re.findall(r"`(\w+)`", names)
    }
    steps = {"daily": {"hour", "week"}, "hourly": {"day", "week"}, "weekly": {"day", "hour"}}

    assert view_columns.keys() == {view.table.name for view in schema.views} == definitions.REPORTS.keys()
    for name, report in definitions.REPORTS.items():
        assert view_columns[name] - steps.get(name, set()) == {column.name for column in report.columns}


def test_readme_states_the_length_of_the_application():
    chalicelib = PROJECT / "chalicelib"
    lengths = [
        sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))
        for folder in (chalicelib, chalicelib / "extras")
    ]

    stated = [int(number.replace(",", "")) for number in re.findall(r"about ([\d,]+) lines", README)]
    assert stated == [pytest.approx(length, abs=500) for length in lengths]
