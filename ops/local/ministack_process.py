"""The embedded AWS as a process that shuts down cleanly when its parent ends, which closes standard input."""

from __future__ import annotations

import os
import signal
import sys
import threading

from ministack import app

from ops.local import ministack_gateway


def _end_with_parent() -> None:
    # Not sys.stdin.read(): a thread blocked there holds a lock that the interpreter needs to shut down.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ministack_gateway.correct(app)
    app.main()
