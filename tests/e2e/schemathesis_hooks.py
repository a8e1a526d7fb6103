"""Corrections of Schemathesis's cases where a schema cannot express a rule."""

from __future__ import annotations

from typing import Any

import schemathesis

from chalicelib.extras.reports.definitions import REPORTS


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Make acceptable the cases that are meant to be accepted, and leave the others unchanged."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.operation.definition.raw["operationId"] == "report":
        _ask_what_the_report_takes(case)
    # No schema can say which cursors were given out: the example is one.
    if "cursor" in case.query:
        (cursor,) = [found for found in case.operation.query if found.name == "cursor"]
        case.query["cursor"] = cursor.definition["example"]
    # For JSON Schema 999.0 is an integer; for this service it is not.
    if isinstance(case.body, dict) and isinstance(by := case.body.get("by"), float):
        case.body["by"] = int(by)
    # Its coverage phase finds no text with quotes in it, takes 0 in its place, and means to be accepted all the same.
    if "If-Match" in case.headers and not str(case.headers["If-Match"]).startswith('"'):
        case.headers["If-Match"] = f'"{case.headers["If-Match"]}"'


def _ask_what_the_report_takes(case: schemathesis.Case[Any]) -> None:
    """No schema can say that each report has parameters of its own, nor that a cursor goes with the same ones."""
    if "cursor" in case.query:
        case.path_parameters["name"] = "top_counters"
        case.query.pop("counter_id", None)
    report = REPORTS[case.path_parameters["name"]]
    for name in ("from", "to"):
        if name not in report.parameters:
            case.query.pop(name, None)
    for name in report.required:
        case.query.setdefault(name, "clicks")
