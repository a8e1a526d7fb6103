"""The files of `web/`, and the modules that a module loads."""

import os
import re

from ops.stages import PROJECT

WEB = PROJECT / "web"

_IMPORT = re.compile(r'^(?:im|ex)port .*?"(\..*?)"', re.MULTILINE)


def read_web() -> dict[str, bytes]:
    """Return the content of each file, by its path below `web/`."""
    return {str(path.relative_to(WEB)): path.read_bytes() for path in WEB.rglob("*") if path.is_file()}


def list_modules(entry: str) -> list[str]:
    """List the modules that the entry imports, directly or through others, by their paths below `web/`."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        source = (WEB / name).read_text(encoding="utf-8")
        imported = {os.path.normpath(f"{name}/../{path}") for path in _IMPORT.findall(source)}
        waiting += imported - found
        found |= imported
    return sorted(found)
