"""The report is rendered from stored figures, README agrees with it, and plots show their numbers."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ET
from typing import Any

import click
import pytest

from benchmarks.measure import function_times, scope
from benchmarks.report import cold_start, cpu_time, faults, ops_commands, plots, render, request_costs
from tests.doc_pages import PAGES, PROJECT, README

DOCS = PROJECT / "docs"
DEPLOYING = PAGES["docs/deploying.md"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures():
    return function_times.read(DOCS)


def test_page_and_plots_are_rendered_from_the_stored_figures(figures):
    files = render.rendered(figures)

    assert {name: (DOCS / name).read_text(encoding="utf-8") for name in files} == files
    assert {f"figures/{plot.name}" for plot in (DOCS / "figures").iterdir()} == files.keys() - {"figures.md"}


def test_section_that_can_be_measured_is_stored_and_in_the_report(figures):
    assert list(figures) == list(function_times.SECTIONS) == list(render.SECTIONS)


def test_readme_and_docs_have_the_measured_tables(figures):
    assert f"\n{cold_start.readme_table(figures['starting']['raw'])}\n" in DEPLOYING
    assert f"({figures['starting']['raw']['times']} of each, medians)" in " ".join(DEPLOYING.split())
    assert f"\n{ops_commands.readme_table(figures['operating']['raw'])}\n" in PAGES["docs/maintenance.md"]


def test_readme_has_the_table_of_designs(figures):
    assert f"\n{render.headlines(figures)}\n" in README


def test_readme_states_how_many_goals_were_missed(figures):
    missed = [goal for goal in render.goals(figures) if not goal.is_met]

    assert f"{len(missed)} of {len(render.goals(figures))} goals were missed" in " ".join(README.split())


def test_report_changes_with_the_figures(figures):
    changed = json.loads(json.dumps(figures))
    changed["surviving"]["raw"][scope.OURS]["a response is lost"]["too_much"] = 1
    changed["spending"]["raw"]["cells"][0]["write_units"] += 1

    before, after = render.rendered(figures), render.rendered(changed)

    assert before["figures.md"] != after["figures.md"]
    assert before["figures/write-units.svg"] != after["figures/write-units.svg"]
    assert render.headlines(figures) != render.headlines(changed)


def test_report_begins_with_the_goals_of_what_was_measured(figures):
    changed = json.loads(json.dumps(figures))
    ratios = changed["working"]["raw"]["compared"]["command"]["ratios"]
    ratios[scope.BY_GATEWAY] = [scope.COMMAND_GOAL + 0.01] * 3

    def in_short(of):
        return render.rendered(of)["figures.md"].partition("## In short")[2].partition("\n## ")[0]

    goal = f"at most {scope.COMMAND_GOAL} times the CPU time of the bare put"
    assert f"{goal} | {scope.COMMAND_GOAL + 0.01:.2f} | **missed** |" in in_short(changed)
    assert f"{goal} |" in in_short({"working": figures["working"]})
    assert f"{goal} |" not in in_short({"crowding": figures["crowding"]})
    assert in_short({"lag": figures["lag"]}) == ""


@pytest.mark.parametrize("fault", ["too_much", "too_little", "never_acknowledged"])
def test_design_survives_only_if_exact_and_acknowledged_each_time(fault):
    unharmed = {"runs": 9, "too_much": 0, "too_little": 0, "never_acknowledged": 0}

    assert faults.survives(unharmed)
    assert not faults.survives({**unharmed, fault: 1})


def test_units_of_an_increment_are_the_sum_of_its_parts_or_unknown():
    rows = [
        {"design": "a", "events": 10, "spread": 1, "part": "command", "requests": 1},
        {"design": "a", "events": 10, "spread": 1, "part": "counting", "requests": 0.2},
        {"design": "a", "events": 10, "spread": 10, "part": "counting", "requests": 7},
    ]

    assert request_costs.per_increment({"cells": rows}, "a", 10, 1, "requests") == pytest.approx(1.2)
    assert request_costs.per_increment({"cells": rows}, "a", 100, 1, "requests") is None


def test_goal_of_units_is_missed_if_messages_in_any_order_take_more(figures):
    changed = json.loads(json.dumps(figures["spending"]["raw"]))
    (row,) = [row for row in changed["orders"] if (row["order"], row["events"]) == (scope.IN_PAIRS, 100)]
    row["write_units"] += 0.1

    before, after = (
        [goal.is_met for goal in request_costs.SECTION.goals(raw)] for raw in (figures["spending"]["raw"], changed)
    )

    assert all(before)
    assert after.count(False) == 1


def test_ratio_is_the_median_of_its_rounds():
    def raw(*rounds):
        return {"compared": {"command": {"ratios": {"it": list(rounds)}}}}

    assert cpu_time.ratio(raw(3, 1, 2), "command", "it") == 2
    assert cpu_time.ratio(raw(4, 1, 2, 3), "command", "it") == 2.5


def test_section_measured_again_keeps_earlier_figures():
    kept = [{"events": 10, "a_second": 1}, {"events": 1000, "a_second": 1}]

    merged = function_times.kept("operating", [{"events": 10, "a_second": 2}], kept)

    assert merged == [{"events": 10, "a_second": 2}, {"events": 1000, "a_second": 1, "earlier": True}]
    assert function_times.kept("spending", [2], [1]) == [2]


def test_plot_places_and_names_each_line_the_same_each_time():
    series: dict[str, Any] = {
        "flat": [(1, 1), (10, 1), (100, 1)],
        "falls <fast>": [(1, 10), (100, 0.1)],
        "is not there": [(1, 0)],
    }

    svg = plots.lines("What it takes", "events", "units", series)

    assert svg == plots.lines("What it takes", "events", "units", series)
    drawn = ET.fromstring(svg)
    texts = {text.text: text for text in drawn.iter(f"{SVG}text")}
    assert {"What it takes", "events", "units", "flat", "falls <fast>"} <= texts.keys()
    assert "is not there" not in texts
    flat, falls = (
        [tuple(map(float, point.split())) for point in path.get("d", "")[1:].split("L")]
        for path in drawn.iter(f"{SVG}path")
        if path.get("stroke-width") == "2"
    )
    assert len({y for _, y in flat}) == 1
    assert [x for x, _ in flat] == [70, 300, 530]  # decades are as far from each other
    assert falls[0][1] < flat[0][1] < falls[1][1]


def test_plot_of_points_at_different_places_has_ticks_at_decades():
    drawn = ET.fromstring(plots.lines("", "", "", {"one": [(2, 1), (50, 10)]}, x_decades=True))

    (line,) = (path.get("d", "") for path in drawn.iter(f"{SVG}path") if path.get("stroke-width") == "2")
    assert line.startswith("M139.2 ")  # 2 is three tenths of the way from 1 to 10, which is half of the axis
    assert {"1", "10", "100"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def test_names_of_lines_do_not_overlap_each_other_or_the_axis():
    ends_early: dict[str, Any] = {name: [(1, 1), (10, 1)] for name in ("one", "two", "three")}

    drawn = ET.fromstring(plots.lines("", "", "", {**ends_early, "four": [(1, 2), (100, 1)]}))

    named = [text for text in drawn.iter(f"{SVG}text") if text.text in {*ends_early, "four"}]
    heights = sorted(float(text.get("y", "")) for text in named)
    assert {text.get("x") for text in named} == {"552"}
    assert all(below - above >= 15 for above, below in itertools.pairwise(heights))
    assert heights[-1] < 366  # where the axis across has its numbers


@pytest.mark.parametrize(("highest", "numbers"), [(9, ["1", "2", "5", "10"]), (900, ["1", "10", "100", "1,000"])])
def test_plot_of_few_decades_has_ticks_between_them(highest, numbers):
    drawn = ET.fromstring(plots.lines("", "", "", {"one": [(3, 1), (4, highest)]}))

    assert [text.text for text in drawn.iter(f"{SVG}text") if text.get("text-anchor") == "end"] == numbers


def test_reading_figures_before_a_measurement_is_an_error(tmp_path):
    with pytest.raises(click.ClickException, match="run `make bench` first"):
        function_times.read(tmp_path)
