"""Define the errors of reports, with the problem documents that clients receive."""

from __future__ import annotations

from chalicelib.errors import ProblemType, RequestError, UnavailableError


class ReportNotFoundError(RequestError):
    """No report has this name."""

    problem = ProblemType(404, "report-not-found", "Report not found")


class ReportsOffError(RequestError):
    """The stage has no SQL read model, the source of all reports."""

    problem = ProblemType(404, "reports-off", "Reports are off")

    def __init__(self) -> None:
        super().__init__(
            "Reports require the SQL read model, which this stage does not have. "
            "The operator enables it with the setting SQL_URL, then runs `provision` and `deploy`."
        )


class ReportUnavailableError(UnavailableError):
    """The database refuses the request, is busy, does not respond, or takes too long. Nothing was changed."""

    public_detail = (
        "The SQL read model is busy or unreachable, or the report takes too long. Nothing was changed. Retry "
        "later. If the error persists, request less: filter by `counter_id`, or by `from` and `to`."
    )
    retry_after_s = 5
