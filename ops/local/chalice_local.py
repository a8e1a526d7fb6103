"""Run Chalice's development server for the stage `local`: python -m ops.local.chalice_local PORT."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from chalice.cli import run_local_server
from chalice.cli.factory import CLIFactory

from ops import stages


class Factory(CLIFactory):
    """Of what Chalice makes from the project, whose files it finds where the stage's functions do."""

    def load_project_config(self) -> dict[str, Any]:
        """The configuration, in which the stage's environment says of each file in full where it is."""
        found: dict[str, Any] = super().load_project_config()
        found["stages"][stages.LOCAL_STAGE]["environment_variables"] = stages.environment_of(stages.LOCAL_STAGE)
        return found


def factory() -> Factory:
    """What Chalice makes has the environment of this process, and adds the stage's to it."""
    return Factory(str(stages.PROJECT), environ=os.environ)


def main(port: int) -> None:
    """The server runs until this process is told to end."""
    os.environ["AWS_CHALICE_CLI_MODE"] = "true"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    run_local_server(factory(), "127.0.0.1", port, stages.LOCAL_STAGE)


if __name__ == "__main__":
    main(int(sys.argv[1]))
