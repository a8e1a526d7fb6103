"""Record the requests and errors of a test's pages, to explain intermittent failures."""

import time

from playwright.sync_api import BrowserContext, Request, Response, WebError


class Traffic:
    """The requests, responses and errors of browser contexts, with the seconds since the test began."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lines: list[str] = []
        self._pending: dict[Request, str] = {}

    def watch(self, context: BrowserContext) -> None:
        """Record what the pages of this context request, and their errors."""
        context.on("request", self._add_request)
        context.on("response", self._add_response)
        context.on("requestfinished", self._end)
        context.on("requestfailed", self._add_failure)
        context.on("weberror", self._add_error)

    def describe(self) -> str:
        """Return a line for each record, then one for each request that has not ended."""
        return "\n".join([*self._lines, *(f"not ended: {line}" for line in self._pending.values())])

    def _add(self, text: str) -> str:
        line = f"{time.monotonic() - self._start:7.2f} {text}"
        self._lines.append(line)
        return line

    def _add_request(self, request: Request) -> None:
        self._pending[request] = self._add(f"{request.method} {request.url}")

    def _add_response(self, response: Response) -> None:
        self._add(f"{response.status} {response.url}")

    def _end(self, request: Request) -> None:
        self._pending.pop(request, None)

    def _add_failure(self, request: Request) -> None:
        self._end(request)
        self._add(f"failed: {request.url}: {request.failure}")

    def _add_error(self, error: WebError) -> None:
        self._add(f"error: {error.error}")
