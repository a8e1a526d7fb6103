"""What a function is sure to need is there before its first event, and what only others need is not there at all."""

from __future__ import annotations

import importlib

#: The functions, as Lambda calls them, and what each is sure to enter and to be a client of.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "app.app": ("command_handlers", "aws.tables"),
    "app.publish": ("publisher", "aws.sqs"),
    "app.project": ("projector", "read_model.writer", "aws.tables"),
    "app.check": ("extras.verification.scheduled_check", "aws.tables"),
}

#: And the function that a stage has only with SQL_URL.
WITH_SQL: dict[str, tuple[str, ...]] = {"app.project_sql": ("extras.sql.projector", "extras.sql.read_model")}


def preload(function: str) -> None:
    """
    The rooms that this function enters are loaded, and its client, of AWS or of a database, is made; of any other
    name, nothing is.

    While a function starts, Lambda gives it a whole CPU or two, and then a share by its memory: what is left to the
    first event takes several times as long.
    """
    known = FUNCTIONS | WITH_SQL
    if function in known:
        *modules, clients = known[function]
        for module in modules:
            importlib.import_module(f"chalicelib.{module}")
        importlib.import_module(f"chalicelib.{clients}").client()
