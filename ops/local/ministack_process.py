"""The embedded AWS as a process that ends, in order, when whoever started it is gone: its standard input is closed."""

from __future__ import annotations

import os
import signal
import sys
import threading

from ministack.app import main


def _end_with_parent() -> None:
    # Past Python's own buffer, whose lock a thread that waits there would not give back when the process ends.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
