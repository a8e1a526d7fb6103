"""
Check the prose of documents and docstrings, and the names of tests; `make lint` runs it.

Documents: no banned word, and no sentence of more than 25 words outside tables. Code and generated pages are not
checked. Docstrings: the same limit for sentences, except in tables, examples and lists of exceptions. Tests: no name
over 70 characters. (Ruff checks that docstrings start with a verb.)
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

PROJECT = Path(__file__).parent.parent
PACKAGES = ("benchmarks", "chalicelib", "ops", "scripts", "testkit")
GENERATED = {"access-responses.md", "mutants.md"}
MAX_WORDS = 25
MAX_NAME = 70

#: Words that have a plainer replacement, or that leave an actor without a name.
BANNED = re.compile(
    r"\b(anew|besides?|rivals?|troubles?d?|beliefs?|in little|by itself|lest|seldom|dear|told|said|whoever|[Nn]obody"
    r"|[Ss]omebody|h[eo]ld against|put right|so many|stands|comes? to|goes on|(?<!there )is none"
    r"|(?<!there )is no (?!longer|t\b)\w+)\b",
)


def main() -> int:
    """Print each finding as `path:line: text`, and return 1 if there is any."""
    pages = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    modules = [PROJECT / "app.py", *(path for name in PACKAGES for path in (PROJECT / name).rglob("*.py"))]
    findings = [
        *(finding for path in sorted(pages) if path.name not in GENERATED for finding in _in_page(path)),
        *(finding for path in sorted(modules) for finding in _in_docstrings(path)),
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
            if not in_table:
                yield from ((path, line, finding) for finding in _find_long_sentences(text))


def _in_docstrings(path: Path) -> Iterator[tuple[Path, int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (docstring := ast.get_docstring(node)):
            line = node.body[0].lineno
            for paragraph in docstring.split("\n\n"):
                if not re.search(r"^\s", paragraph.strip("\n"), re.MULTILINE):  # a table, examples or exceptions
                    text = re.sub(r"`[^`]*`", "Code", paragraph)
                    yield from (
                        (path, line, finding)
                        for item in re.split(r"^- ", text, flags=re.MULTILINE)
                        for finding in _find_long_sentences(item)
                    )


def _find_long_sentences(text: str) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.!?])[\"')]*\s+(?=[A-Z*])", text):
        words = sentence.split()
        if len(words) > MAX_WORDS:
            yield f"{len(words)} words: {' '.join(words[:10])} ..."


def _in_tests(path: Path) -> Iterator[tuple[Path, int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > MAX_NAME:
            yield path, node.lineno, f"{len(node.name)} characters: {node.name}"


if __name__ == "__main__":
    sys.exit(main())
