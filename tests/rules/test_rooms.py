"""What a tool for import layers cannot say."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
POLICIES = sorted((PROJECT / "infrastructure" / "policies").glob("*.json"))


@pytest.mark.parametrize("room", ["counting", "errors"])
def test_the_rules_import_the_standard_library_only(room):
    tree = ast.parse((PROJECT / "chalicelib" / f"{room}.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"chalicelib"}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_no_function_may_update_or_delete_an_event(policy):
    statements = json.loads(policy.read_text(encoding="utf-8"))["Statement"]

    for statement in statements:
        if "event-log" in str(statement["Resource"]):
            assert not {"dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:*"} & set(statement["Action"])
        assert "*" not in {action.partition(":")[2] for action in statement["Action"]}


def test_there_is_a_policy_for_each_function():
    assert [path.stem for path in POLICIES] == ["api", "check", "project", "publish"]
