"""The pages are rendered from stored figures, README agrees with them, and plots show their numbers."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks import store
from benchmarks.measure import scope
from benchmarks.report import goals, plots, render, results
from tests.doc_pages import PAGES, README

RENDERED = ("benchmarks.md", "cost.md", "scale.md")


@pytest.fixture(scope="module")
def figures():
    return store.read()


@pytest.fixture(scope="module")
def rendered(figures):
    return render.render_pages(figures)


def copy_of(figures: Any) -> Any:
    return json.loads(json.dumps(figures))


def data_of(svg: str) -> Any:
    """Return the plotted points, which the plot's description contains."""
    (description,) = ET.fromstring(svg).iter("{http://purl.org/dc/elements/1.1/}description")
    return json.loads(description.text or "")


def render_designs(figures: Any) -> str:
    return render.render_table("designs", *(figures[name]["raw"] for name in ("request_costs", "faults", "throughput")))


def render_benchmarks(figures: Any) -> str:
    return render.render_pages(figures)["benchmarks.md"]


@pytest.mark.parametrize("page", RENDERED)
def test_page_is_rendered_from_the_stored_figures(rendered, page):
    assert PAGES[f"docs/{page}"] == rendered[page]


def test_stored_plots_have_the_points_of_the_stored_figures(rendered):
    """The text of an SVG depends on the version of matplotlib, so the points in its description are compared."""
    stored = {f"figures/{path.name}": path.read_text("utf-8") for path in (store.DOCS / "figures").iterdir()}

    assert {name: data_of(svg) for name, svg in stored.items()} == {
        name: data_of(svg) for name, svg in rendered.items() if name not in RENDERED
    }


def test_page_shows_each_stored_plot(rendered):
    shown = re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", rendered["benchmarks.md"], re.MULTILINE)

    assert sorted(shown) == sorted(rendered.keys() - {*RENDERED})


def test_every_section_is_stored(figures):
    assert tuple(figures) == store.SECTIONS


def test_readme_has_the_measured_table_of_designs(figures):
    assert f"\n{render_designs(figures)}\n" in README


def test_readme_states_how_many_goals_were_missed(figures):
    listed = goals.list_goals(figures)
    missed = [goal for goal in listed if not goal.is_met]

    assert f"{len(missed)} of {len(listed)} goals were missed" in " ".join(README.split())


def test_report_changes_with_the_figures(figures, rendered):
    changed = copy_of(figures)
    changed["faults"]["raw"][scope.OURS]["a response is lost"]["too_high"] = 1
    changed["request_costs"]["raw"]["cells"][0]["write_units"] += 1

    after = render.render_pages(changed)

    for name in ("benchmarks.md", "figures/write-units.svg"):
        assert rendered[name] != after[name]
    assert render_designs(figures) != render_designs(changed)


def test_report_begins_with_the_goals_of_the_measured_sections(figures):
    changed = copy_of(figures)
    ratios = changed["cpu_time"]["raw"]["compared"]["command"]["ratios"]
    ratios[scope.API_HANDLER] = [scope.COMMAND_GOAL + 0.01] * 3

    def summary(*sections: str) -> str:
        page = render_benchmarks({name: changed[name] for name in sections})
        return page.partition("## Summary")[2].partition("\n## ")[0]

    goal = f"at most {scope.COMMAND_GOAL} times the CPU time of the bare put"
    assert f"{goal} | {scope.COMMAND_GOAL + 0.01:.2f} | **missed** |" in summary("cpu_time", "throughput")
    assert f"{goal} |" not in summary("throughput")
    assert summary("latency") == ""


@pytest.mark.parametrize("result", ["too_high", "too_low", "never_acknowledged"])
def test_design_survives_only_if_exact_and_acknowledged_each_time(result):
    unharmed = {"runs": 9, "too_high": 0, "too_low": 0, "never_acknowledged": 0}

    assert results.survives(unharmed)
    assert not results.survives({**unharmed, result: 1})


def test_cost_of_an_increment_is_the_sum_of_its_parts_or_unknown():
    rows = [
        {"design": "a", "events": 10, "spread": 1, "part": "command", "requests": 1},
        {"design": "a", "events": 10, "spread": 1, "part": "counting", "requests": 0.2},
        {"design": "a", "events": 10, "spread": 10, "part": "counting", "requests": 7},
    ]

    assert results.increment_cost({"cells": rows}, "a", 10, 1, "requests") == pytest.approx(1.2)
    assert results.increment_cost({"cells": rows}, "a", 100, 1, "requests") is None


def test_goal_of_units_is_missed_if_any_order_of_messages_costs_more(figures):
    changed = copy_of(figures["request_costs"]["raw"])
    (row,) = [row for row in changed["orders"] if (row["order"], row["events"]) == (scope.IN_PAIRS, 100)]
    row["write_units"] += 0.1

    before, after = (
        [goal.is_met for goal in goals.list_request_cost_goals(raw)]
        for raw in (figures["request_costs"]["raw"], changed)
    )

    assert all(before)
    assert after.count(False) == 1


def test_cpu_ratio_is_the_median_of_its_rounds():
    def raw(*rounds: float) -> Any:
        return {"compared": {"command": {"ratios": {"it": list(rounds)}}}}

    assert results.cpu_ratio(raw(3, 1, 2), "command", "it") == 2
    assert results.cpu_ratio(raw(4, 1, 2, 3), "command", "it") == 2.5


def test_section_measured_again_replaces_only_itself(tmp_path: Path):
    store.write(tmp_path, "ops_commands", [{"events": size, "a_second": 1} for size in (10, 1000)], {})
    store.write(tmp_path, "faults", 1, {})

    store.write(tmp_path, "ops_commands", [{"events": 10, "a_second": 2}], {})
    store.write(tmp_path, "faults", 2, {})

    assert {name: section["raw"] for name, section in store.read(tmp_path).items()} == {
        "faults": 2,
        "ops_commands": [{"events": 10, "a_second": 2}, {"events": 1000, "a_second": 1, "earlier": True}],
    }


def test_plot_is_reproducible_and_omits_values_that_are_not_positive():
    series: dict[str, Any] = {"flat": [(1, 1), (10, 1)], "falls <fast>": [(1, 10), (100, 0.1)], "`absent`": [(1, 0)]}

    svg = plots.draw_lines("Units", "events", "units", series)

    assert svg == plots.draw_lines("Units", "events", "units", series)
    assert data_of(svg) == {"flat": [[1, 1], [10, 1]], "falls <fast>": [[1, 10], [100, 0.1]], "absent": []}
    texts = {text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {"Units", "events", "units", "flat", "falls <fast>", "1", "10", "100"} <= texts


def test_reading_figures_before_a_measurement_is_an_error(tmp_path: Path):
    with pytest.raises(click.ClickException, match="Run `make bench` first"):
        store.read(tmp_path)


def test_paragraphs_are_wrapped_and_tables_are_not():
    cells = "| a |" * 40

    assert render.fill_paragraphs(f"# Title\n\n{'word ' * 30}\n\n{cells}\n") == (
        f"# Title\n\n{'word ' * 23}word\n{' '.join(['word'] * 6)}\n\n{cells}\n"
    )
