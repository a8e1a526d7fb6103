"""The report says what is stored, README says what the report does, and a plot is where its numbers are."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench import measurements, plots, report, scope
from bench.telling import operating, spending, starting, surviving, working
from tests.documents import PAGES, PROJECT, README

DOCS = PROJECT / "docs"
DEPLOYING = PAGES["docs/deploying.md"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures():
    return measurements.read(DOCS)


def test_the_page_and_every_plot_are_what_the_stored_figures_come_to(figures):
    files = report.rendered(figures)

    assert {name: (DOCS / name).read_text(encoding="utf-8") for name in files} == files
    assert {f"figures/{plot.name}" for plot in (DOCS / "figures").iterdir()} == files.keys() - {"figures.md"}


def test_every_section_that_can_be_measured_is_stored_and_said(figures):
    assert list(figures) == list(measurements.SECTIONS) == list(report.SECTIONS)


def test_readme_and_its_pages_have_the_tables_that_are_measured(figures):
    assert f"\n{starting.readme_table(figures['starting']['raw'])}\n" in DEPLOYING
    assert f"({figures['starting']['raw']['times']} of each, medians)" in " ".join(DEPLOYING.split())
    assert f"\n{operating.readme_table(figures['operating']['raw'])}\n" in README


def test_readme_says_which_faults_each_design_survives_as_it_was_found(figures):
    assert f"\n{report.headlines(figures)}\n" in README


def test_readme_says_how_many_goals_were_missed(figures):
    missed = [goal for goal in report.goals(figures) if not goal.is_met]

    assert len(missed) == 2
    assert "Two of the goals were missed" in README


def test_another_number_makes_another_report(figures):
    changed = json.loads(json.dumps(figures))
    changed["surviving"]["raw"][scope.OURS]["an answer is lost"]["too_much"] = 1
    changed["spending"]["raw"][0]["write_units"] += 1

    before, after = report.rendered(figures), report.rendered(changed)

    assert before["figures.md"] != after["figures.md"]
    assert before["figures/write-units.svg"] != after["figures/write-units.svg"]
    assert report.headlines(figures) != report.headlines(changed)


def test_the_goals_and_what_became_of_them_are_told_first_and_of_what_was_measured(figures):
    changed = json.loads(json.dumps(figures))
    ratios = changed["working"]["raw"]["compared"]["command"]["ratios"]
    ratios[scope.BY_GATEWAY] = [scope.COMMAND_GOAL + 0.01] * 3

    def in_short(of):
        return report.rendered(of)["figures.md"].partition("## In short")[2].partition("\n## ")[0]

    goal = f"at most {scope.COMMAND_GOAL} times the CPU time of the bare put"
    assert f"{goal} | {scope.COMMAND_GOAL + 0.01:.2f} | **missed** |" in in_short(changed)
    assert f"{goal} |" in in_short({"working": figures["working"]})
    assert f"{goal} |" not in in_short({"crowding": figures["crowding"]})
    assert in_short({"spending": figures["spending"]}) == ""


@pytest.mark.parametrize("fault", ["too_much", "too_little", "never_acknowledged"])
def test_a_design_survives_only_what_left_it_exact_and_acknowledged_each_time(fault):
    unharmed = {"runs": 9, "too_much": 0, "too_little": 0, "never_acknowledged": 0}

    assert surviving.survives(unharmed)
    assert not surviving.survives({**unharmed, fault: 1})


def test_what_an_increment_takes_is_added_up_over_its_parts_and_unknown_where_nothing_was_measured():
    rows = [
        {"design": "a", "events": 10, "spread": 1, "part": "command", "requests": 1},
        {"design": "a", "events": 10, "spread": 1, "part": "counting", "requests": 0.2},
        {"design": "a", "events": 10, "spread": 10, "part": "counting", "requests": 7},
    ]

    assert spending.per_increment(rows, "a", 10, 1, "requests") == pytest.approx(1.2)
    assert spending.per_increment(rows, "a", 100, 1, "requests") is None


def test_a_ratio_is_the_median_of_its_rounds():
    def raw(*rounds):
        return {"compared": {"command": {"ratios": {"it": list(rounds)}}}}

    assert working.ratio(raw(3, 1, 2), "command", "it") == 2
    assert working.ratio(raw(4, 1, 2, 3), "command", "it") == 2.5


def test_what_is_measured_again_keeps_what_is_not():
    kept = [{"events": 10, "a_second": 1}, {"events": 1000, "a_second": 1}]

    merged = measurements.kept("operating", [{"events": 10, "a_second": 2}], kept)

    assert merged == [{"events": 10, "a_second": 2}, {"events": 1000, "a_second": 1, "earlier": True}]
    assert measurements.kept("working", {"rounds": 2}, {"rounds": 1, "before": 0}) == {"rounds": 2, "before": 0}
    assert measurements.kept("spending", [2], [1]) == [2]


def test_a_plot_is_drawn_the_same_each_time_with_every_line_named_and_placed_by_its_numbers():
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


def test_a_plot_of_points_at_different_places_is_marked_by_decades():
    drawn = ET.fromstring(plots.lines("", "", "", {"one": [(2, 1), (50, 10)]}, x_decades=True))

    (line,) = (path.get("d", "") for path in drawn.iter(f"{SVG}path") if path.get("stroke-width") == "2")
    assert line.startswith("M139.2 ")  # 2 is three tenths of the way from 1 to 10, which is half of the axis
    assert {"1", "10", "100"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def test_names_of_lines_are_apart_and_above_the_axis_at_one_place_across_wherever_a_line_ends():
    ends_early: dict[str, Any] = {name: [(1, 1), (10, 1)] for name in ("one", "two", "three")}

    drawn = ET.fromstring(plots.lines("", "", "", {**ends_early, "four": [(1, 2), (100, 1)]}))

    named = [text for text in drawn.iter(f"{SVG}text") if text.text in {*ends_early, "four"}]
    heights = sorted(float(text.get("y", "")) for text in named)
    assert {text.get("x") for text in named} == {"552"}
    assert all(below - above >= 15 for above, below in itertools.pairwise(heights))
    assert heights[-1] < 366  # where the axis across has its numbers


@pytest.mark.parametrize(("highest", "numbers"), [(9, ["1", "2", "5", "10"]), (900, ["1", "10", "100", "1,000"])])
def test_few_decades_are_marked_between_their_ends_too(highest, numbers):
    drawn = ET.fromstring(plots.lines("", "", "", {"one": [(3, 1), (4, highest)]}))

    assert [text.text for text in drawn.iter(f"{SVG}text") if text.get("text-anchor") == "end"] == numbers


def test_nothing_can_be_said_before_anything_is_measured(tmp_path):
    with pytest.raises(Exception, match="run `make bench` first"):
        measurements.read(tmp_path)
