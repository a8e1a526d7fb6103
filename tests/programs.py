"""Programs that tests need."""

import os
import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """Return the program's path. Without the program, skip the test or, in CI, let it fail."""
    path = shutil.which(name)
    if path is None:
        reason = f"there is no `{name}` on the PATH (Debian's package {package} provides it)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
