"""The URL with which operators connect to the SQL read model."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from chalicelib.settings import check_sql_url

if TYPE_CHECKING:
    from chalicelib.settings import Settings

_PASSWORD = re.compile(r"(?<=://)([^:@/?]*):[^@]*@")


def address(settings: Settings) -> str:
    """
    Return SQL_OWNER_URL from the environment, or else SQL_URL. Empty if SQL is off.

    Unlike settings, which are stored with the functions, SQL_OWNER_URL may hold a password.

    Raises:
        SettingsError: SQL_OWNER_URL is malformed, or names another kind of database than SQL_URL.
    """
    owner_url = os.environ.get("SQL_OWNER_URL")
    if not settings.sql_url or not owner_url:
        return settings.sql_url
    check_sql_url("SQL_OWNER_URL", _PASSWORD.sub(r"\1@", owner_url, count=1), settings.sql_url)
    return owner_url
