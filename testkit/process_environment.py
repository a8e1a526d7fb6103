"""The environment of a process that tests or measures the application: a separate stage, ports and folder."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ops import stages
from ops.local import credentials
from testkit import run_folder

if TYPE_CHECKING:
    from ops.local.stack import LocalSystem


def free_ports(count: int) -> list[int]:
    """Return this many ports on which no process listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@functools.cache
def enter() -> None:
    """Set the environment of this process, once. Call this before importing the application, which reads settings."""
    aws_port, page_port = free_ports(2)
    folder = run_folder.create()
    os.environ.update(STAGE="pipeline", COUNTERS="*", LOCAL_FOLDER=str(folder))
    os.environ.update(AWS_PORT=str(aws_port), PAGE_PORT=str(page_port))
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))  # the root of `tmp_path`
    stages.use_embedded_aws(
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws_port}",
            **credentials.read_or_create(folder),
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    )


def local_place() -> LocalSystem:
    """Return the folder and the ports of this environment."""
    from ops.local import stack

    return stack.LocalSystem(
        Path(os.environ["LOCAL_FOLDER"]), int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    )
