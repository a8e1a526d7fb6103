"""Operations: provision, deploy, check and repair stages, and run the whole system locally. Nothing here ships."""

import importlib.util
import sys

if importlib.util.find_spec("click") is None:
    # One line instead of a traceback. Status 3: this machine fails.
    sys.stderr.write(
        "Error: this Python lacks the project's packages. Run `. .venv/bin/activate`; `make up` creates it.\n"
    )
    sys.exit(3)
