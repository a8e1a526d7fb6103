"""Correct the requests that Schemathesis considers valid, where no schema can state the rule."""

from typing import Any

import schemathesis

from chalicelib.extras.reports.definitions import REPORTS


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Correct the cases that the service is expected to accept. Leave the others unchanged."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.operation.definition.raw["operationId"] in ("report", "head_report"):
        _fit_to_the_report(case)
    # No schema can state which cursors the service issued. The example is such a cursor.
    if "cursor" in case.query:
        (cursor,) = [parameter for parameter in case.operation.query if parameter.name == "cursor"]
        case.query["cursor"] = cursor.definition["example"]
    # 999.0 is an integer in JSON Schema, but not for this service, as the description of `by` says.
    if isinstance(case.body, dict) and isinstance(by := case.body.get("by"), float):
        case.body["by"] = int(by)
    # The coverage phase generates no text in quotes; it sends 0 and expects success.
    if "If-Match" in case.headers and not str(case.headers["If-Match"]).startswith('"'):
        case.headers["If-Match"] = f'"{case.headers["If-Match"]}"'


def _fit_to_the_report(case: schemathesis.Case[Any]) -> None:
    """Send only the parameters that the report has. The example cursor belongs to `top_counters` of all counters."""
    if "cursor" in case.query:
        case.path_parameters["name"] = "top_counters"
        case.query.pop("counter_id", None)
    report = REPORTS[case.path_parameters["name"]]
    for name in ("from", "to", "at"):
        if name not in report.parameters:
            case.query.pop(name, None)
    for name in report.required:
        case.query.setdefault(name, {"counter_id": "clicks", "at": "2023-11-14"}[name])
