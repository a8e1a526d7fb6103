"""What a function is sure to need is there before its first event, and what only others need is not there at all."""

from __future__ import annotations

import importlib

#: The functions, as Lambda calls them, and what each is sure to enter and to be a client of.
FUNCTIONS = {
    "app.app": ("commands", "aws.tables"),
    "app.publish": ("publisher", "queues"),
    "app.project": ("projector", "aws.tables"),
    "app.check": ("extras.verification.scheduled_check", "aws.tables"),
}

#: And the function that a stage has only with SQL_URL.
WITH_SQL = {"app.project_sql": ("sql_projector", "sql_model")}


def make_ready(function: str) -> None:
    """
    The rooms that this function enters are loaded, and its client, of AWS or of a database, is made; of any other
    name, nothing is.

    While a function starts, Lambda gives it a whole CPU or two, and then a share by its memory: what is left to the
    first event takes several times as long.
    """
    known = FUNCTIONS | WITH_SQL
    if function in known:
        room, clients = known[function]
        importlib.import_module(f"chalicelib.{room}")
        importlib.import_module(f"chalicelib.{clients}").client()
