"""README, CONTRIBUTING, CHANGELOG and the pages of docs, which tests compare with the code."""

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent

#: The text of each page by its path from the project's root.
PAGES = {
    str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8")
    for path in (*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]

#: The text of all pages.
TEXT = "\n".join(PAGES.values())


def section(title: str) -> str:
    """Return the text below this unique heading, up to the next heading of the same or a higher level."""
    (heading,) = re.finditer(rf"^(#+) {re.escape(title)}$", TEXT, re.MULTILINE)
    return re.split(rf"^#{{1,{len(heading[1])}}} ", TEXT[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
