"""README says what is so: its routes, settings, commands and files, held against the code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from chalicelib import settings, telemetry
from ops.__main__ import main

PROJECT = Path(__file__).parent.parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_route_is_there_and_no_other():
    import app

    declared = {(method, path) for path, methods in app.app.routes.items() for method in methods}

    assert set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", section("The API"), re.MULTILINE)) == declared


def test_every_setting_is_there_with_its_default():
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| (none|`[^`]+`) \|", section("Settings"), re.MULTILINE)
    found = settings.read({"STAGE": "dev"})
    defaults = {name: str(getattr(found, name.lower())) for name, _ in rows}

    assert {name.lower() for name, _ in rows} == {field.name for field in dataclasses.fields(settings.Settings)}
    for name, default in rows:
        if name != "STAGE":
            assert default.strip("`") == (defaults[name] or "none")


def test_every_metric_is_there_with_its_unit_and_no_other():
    rows = re.findall(r"^\| `([A-Z][A-Za-z]+)` \| (\w+) \|", section("Operating"), re.MULTILINE)

    assert {name: unit.capitalize() for name, unit in rows} == telemetry.METRICS


def test_every_make_target_is_there_and_no_other():
    targets = set(re.findall(r"^([a-z]+):.*##", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = re.findall(r"(?:`make ([a-z]+)`)|(?:^make ([a-z]+)  )", README, re.MULTILINE)

    assert {one or other for one, other in named} == targets - {"help"}


def test_the_numbers_of_the_proof_are_those_that_are_asserted():
    from tests.proof import load, mutants, test_crash_points, test_interleavings

    proof = section("The proof")

    assert f"| {test_crash_points.POINTS}, all of them |" in proof
    assert f"| {test_interleavings.ORDERS_OF_TWO_PROJECTORS}, all of them |" in proof
    assert f"| {test_interleavings.SEEDS} in the gate |" in proof
    assert f"`make load` | {load.EVENTS:,} in CI |" in proof
    assert f"increments by {load.CLIENTS} clients" in proof
    assert f"| {len(mutants.MUTANTS)}, see `docs/mutants.md` |" in proof


@pytest.mark.parametrize("command", re.findall(r"python -m ops (\w+)", README))
def test_every_operators_command_exists(command):
    assert command in main.commands


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:chalicelib|tests|infrastructure|\.chalice)/[\w./]+)`", README)))
)
def test_every_file_it_names_exists(path):
    assert (PROJECT / path).exists()
