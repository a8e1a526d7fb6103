"""The URL with which operators connect to the SQL read model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.settings import Settings


def address(settings: Settings) -> str:
    """Return SQL_OWNER_URL from the environment, or else SQL_URL. Empty if SQL is off."""
    return settings.sql_url and (os.environ.get("SQL_OWNER_URL") or settings.sql_url)
