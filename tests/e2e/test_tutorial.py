"""The tutorial of README, run as it is written."""

import re
import subprocess
import sys
from pathlib import Path

from ops.local.stack import LocalSystem
from tests.doc_pages import section
from tests.e2e.conftest import PROJECT, make_environment

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def _normalized(output: str) -> str:
    return re.sub(_TIME, "TIME", re.sub(_UUID, "UUID", output))


def _steps() -> list[tuple[str, str]]:
    """Return each command of the blocks that README marks, with its output."""
    blocks = re.findall(r"runs this\. -->\n```console\n(.*?)```", section("Five-minute tutorial"), re.DOTALL)
    return [(command, output) for command, output in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", "".join(blocks), re.M)]


def test_tutorial_commands_print_their_documented_output(place: LocalSystem, api_url: str, counter_id: str) -> None:
    steps = [
        (command.replace("clicks", counter_id), output.replace("clicks", counter_id)) for command, output in _steps()
    ]
    environment = make_environment({"API_URL": api_url, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})

    assert len(steps) >= 5
    for command, output in steps:
        done = subprocess.run(
            ["bash", "-c", command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
        )
        assert _normalized(done.stdout) == _normalized(output)
