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
    """Chalice's factory, with the SQLite files that the stage's functions use."""

    def load_project_config(self) -> dict[str, Any]:
        """Load the configuration with absolute paths in the stage's environment."""
        configuration: dict[str, Any] = super().load_project_config()
        configuration["stages"][stages.LOCAL_STAGE]["environment_variables"] = stages.environment_of(stages.LOCAL_STAGE)
        return configuration


def factory() -> Factory:
    """Create the factory. Its app runs with the environment of this process and of the stage."""
    return Factory(str(stages.PROJECT), environ=os.environ)


def main(port: int) -> None:
    """Run the server until this process is stopped."""
    os.environ["AWS_CHALICE_CLI_MODE"] = "true"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    run_local_server(factory(), "127.0.0.1", port, stages.LOCAL_STAGE)


if __name__ == "__main__":
    main(int(sys.argv[1]))
