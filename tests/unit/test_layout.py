"""Rules of the layout that the import linter cannot check."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent


DOMAIN = [f"domain/{path.name}" for path in sorted((PROJECT / "chalicelib" / "domain").glob("*.py"))]


@pytest.mark.parametrize("module", ["extras/badge.py", "errors.py", *DOMAIN])
def test_domain_imports_only_the_standard_library(module):
    tree = ast.parse((PROJECT / "chalicelib" / module).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"chalicelib"}


def test_modules_without_knowledge_of_counters_do_not_mention_them():
    text = (PROJECT / "docs" / "another-domain.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"contain no code specific to counters: (.*?)\.\n\n", text, re.DOTALL)
    sources = {
        name: (PROJECT / "chalicelib" / name).read_text(encoding="utf-8") for name in re.findall("`(.*?)`", listed)
    }

    assert len(sources) > 8
    assert [name for name, source in sources.items() if "counter" in source.lower()] == []


def test_operators_commands_load_no_sql_module_before_it_is_used():
    maintenance = "adjust, export, import_file, projections, rebuild, redrive, replay, show, verify"
    program = (
        "import sys; from ops import __main__; from ops.deployment import policies; "
        f"from ops.maintenance import {maintenance}; print('sqlalchemy' in sys.modules)"
    )

    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={**os.environ, "STAGE": "pipeline"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout == "False\n"
