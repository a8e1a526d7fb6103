"""Import the modules that each function needs during its cold start, and no others."""

from __future__ import annotations

import importlib

#: For each function's handler: the modules to import. The last one also provides the client to create.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "app.app": ("command_handlers", "aws.tables"),
    "app.publish": ("publisher", "aws.sqs"),
    "app.project": ("projector", "read_model.writer", "aws.tables"),
    "app.check": ("extras.verification.scheduled_check", "aws.tables"),
}

#: The function that exists only if SQL_URL is set.
WITH_SQL: dict[str, tuple[str, ...]] = {"app.project_sql": ("extras.sql.projector", "extras.sql.read_model")}


def preload(function: str) -> None:
    """
    Import the modules of this function, and create its AWS or database client. Ignore unknown names.

    While a function starts, Lambda gives it one or two whole CPUs; afterwards, a share that depends on its memory.
    Imports during the first event would take several times as long.
    """
    known = FUNCTIONS | WITH_SQL
    if function in known:
        *modules, clients = known[function]
        for module in modules:
            importlib.import_module(f"chalicelib.{module}")
        importlib.import_module(f"chalicelib.{clients}").client()
