"""Tools for operators: provision, deploy, check and repair stages, and run the whole system locally. Never deployed."""

import importlib.util
import sys

#: Packages that the commands import. A Python other than the project's may have some of these, such as click.
_NEEDED = ("boto3", "chalice", "click", "pynamodb", "rich", "samtranslator")

if not all(map(importlib.util.find_spec, _NEEDED)):
    # Print one line instead of a traceback. The status is 3, because the machine lacks something.
    sys.stderr.write(
        "Error: this Python lacks the project's packages. Run `. .venv/bin/activate`; `make up` creates it.\n"
    )
    sys.exit(3)
