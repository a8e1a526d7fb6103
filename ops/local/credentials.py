"""Create the credentials of a local system: random for each folder, so that other users and web pages cannot guess."""

import json
import os
import secrets
from pathlib import Path

from ops.cli.errors import OperatorError

NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def read_or_create(folder: Path) -> dict[str, str]:
    """
    Return the folder's credentials as environment variables, and create them on the first call.

    Concurrent callers get the same credentials. Only the user may read the file.
    """
    file = folder / "credentials"
    if not file.exists():
        _create(file)
    try:
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return {name: found[name] for name in NAMES}
    except (ValueError, LookupError, TypeError) as error:
        raise OperatorError(f"{file} is damaged: delete it while the system is stopped.") from error


def _create(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = (f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(dict(zip(NAMES, values, strict=True))), encoding="utf-8")
    try:
        os.link(draft, file)
    except FileExistsError:
        pass  # another process created it first
    finally:
        draft.unlink()
