"""Wrap the functions of `app.py` that respond to requests (views)."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import unquote

from chalicelib import features
from chalicelib.api import problems, requests
from chalicelib.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalice.app import Chalice, Request, Response

    View = Callable[..., Response]

#: For each view, by its name: the query parameters that it reads, and the module or package in `chalicelib.extras` that
#: it needs.
PARAMETERS: dict[str, tuple[str, ...]] = {}
FEATURES: dict[str, str] = {}

_received: ContextVar[Request] = ContextVar("received")


def bind(request: Request) -> None:
    """Make this the current request of the thread. Chalice keeps the request on the app, which threads may share."""
    _received.set(request)


def current_request() -> requests.Request:
    """Return the request that this thread handles."""
    return requests.parse_request(_received.get())


def view(
    *parameters: str, feature: str = "", refuse: Callable[[RequestError], Response] | None = None
) -> Callable[[View], View]:
    """
    Turn a function into a view, which renders errors as problem documents.

    If the path has a counter id, the view first checks that the id is valid and that the counter exists. For an
    increment, the counter must also be open. Only then does the view read or write anything else. `refuse` renders a
    request error in another way, or raises it again.

    `parameters` are the query parameters that the view reads. `feature` is the module or package in `chalicelib.extras`
    that the view imports. If that module is missing, or its projection is off, the view returns 404, and the index
    omits its link.
    """

    def make_view(function: View) -> View:
        PARAMETERS[function.__name__], FEATURES[function.__name__] = parameters, feature

        @functools.wraps(function)
        def respond(**path: str) -> Response:
            parts = {name: unquote(part) for name, part in path.items()}  # API Gateway does not decode paths
            try:
                _check_counter(**parts)
                return function(**parts)
            except RequestError as error:
                if refuse is None:
                    raise
                return refuse(error)

        return problems.render_errors(features.optional(feature)(respond))

    return make_view


def list_links(app: Chalice) -> Iterator[tuple[str, str]]:
    """Yield the name and the URI template of each view that this stage has, except the index."""
    for path, methods in app.routes.items():
        for route in methods.values():
            name = route.view_name
            if path != "/" and name in FEATURES and features.has(FEATURES[name]):
                yield name, path + (f"{{?{','.join(PARAMETERS[name])}}}" if PARAMETERS[name] else "")


def _check_counter(counter_id: str | None = None, **_others: str) -> None:
    """Refuse the request if its path names an invalid or unknown counter, or if it would increment a closed counter."""
    if counter_id is not None:
        from chalicelib.access import catalog  # noqa: PLC0415  (only the API's function needs it)

        catalog.check(requests.parse_counter_id(counter_id), increments=_received.get().method == "POST")
