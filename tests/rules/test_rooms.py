"""What a tool for import layers cannot say."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("room", ["badges", "counting", "errors"])
def test_the_rules_import_the_standard_library_only(room):
    tree = ast.parse((PROJECT / "chalicelib" / f"{room}.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"chalicelib"}
