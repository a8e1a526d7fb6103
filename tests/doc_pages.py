"""The documentation: README and the pages that it links."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent

#: Each page by its path from the project's root.
PAGES = {
    str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8")
    for path in (PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]

#: All of them, one behind the other.
TEXT = "\n".join(PAGES.values())


def section(title: str) -> str:
    """Return the text below this heading, up to the next heading of its level or above."""
    (found,) = re.finditer(rf"^(#+) {re.escape(title)}$", TEXT, re.MULTILINE)
    return re.split(rf"^#{{1,{len(found[1])}}} ", TEXT[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def anchors(page: str) -> set[str]:
    """Return the anchors of this page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
