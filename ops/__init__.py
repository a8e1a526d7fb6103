"""Operations: provision, deploy, check and repair stages, and run the whole system locally. Nothing here ships."""

import importlib.util
import sys

#: Packages that the commands import. Another Python may have some of them, such as click, for another program.
_NEEDED = ("boto3", "chalice", "click", "pynamodb", "rich", "samtranslator")

if not all(map(importlib.util.find_spec, _NEEDED)):
    # One line instead of a traceback, with status 3: this machine fails.
    sys.stderr.write(
        "Error: this Python lacks the project's packages. Run `. .venv/bin/activate`; `make up` creates it.\n"
    )
    sys.exit(3)
