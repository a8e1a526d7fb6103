"""
Check the prose of the documents and the names of tests; `make lint` runs it.

Documents: no banned word, and no sentence of more than 30 words outside tables. Code and generated pages are not
checked. Tests: no name over 70 characters. (Ruff checks that docstrings start with a verb.)
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parent.parent
GENERATED = {"access-responses.md", "mutants.md"}
MAX_WORDS = 30
MAX_NAME = 70

#: Words with a plainer replacement, or an actor without a name.
BANNED = re.compile(
    r"\b(anew|besides?|rivals?|troubles?d?|beliefs?|in little|by itself|lest|seldom|dear|told|said|whoever|[Nn]obody"
    r"|[Ss]omebody|h[eo]ld against|put right|so many|stands|comes? to|goes on|(?<!there )is none"
    r"|(?<!there )is no (?!longer|t\b)\w+)\b",
)


def main() -> int:
    """Print each finding as `path:line: text`, and return 1 if there is any."""
    pages = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    findings = [
        *(finding for path in sorted(pages) if path.name not in GENERATED for finding in _in_page(path)),
        *(finding for path in sorted((PROJECT / "tests").rglob("test_*.py")) for finding in _in_tests(path)),
    ]
    for path, line, text in findings:
        sys.stdout.write(f"{path.relative_to(PROJECT)}:{line}: {text}\n")
    return 1 if findings else 0


def _in_page(path: Path) -> Iterator[tuple[Path, int, str]]:
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    line, in_table = 0, False
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        in_table = token.type != "table_close" and (in_table or token.type == "table_open")
        if token.type == "inline":
            words = ("Code" if child.type == "code_inline" else child.content or " " for child in token.children or [])
            text = "".join(words)
            yield from ((path, line, f"banned: {banned[0]}") for banned in BANNED.finditer(text))
            for sentence in [] if in_table else re.split(r"(?<=[.!?])[\"')]*\s+(?=[A-Z*])", text):
                if len(sentence.split()) > MAX_WORDS:
                    yield path, line, f"{len(sentence.split())} words: {sentence[:60]} ..."


def _in_tests(path: Path) -> Iterator[tuple[Path, int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > MAX_NAME:
            yield path, node.lineno, f"{len(node.name)} characters: {node.name}"


if __name__ == "__main__":
    sys.exit(main())
