"""Who operates a stage in its database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.settings import Settings


def address(settings: Settings) -> str:
    """
    By which the operator connects: SQL_OWNER_URL, if it is in the environment, or else as the function does.

    Empty where SQL is off.
    """
    return settings.sql_url and (os.environ.get("SQL_OWNER_URL") or settings.sql_url)
