"""Requests that start a stage's functions before its tests. A cold start may take longer than a test waits."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

_PATIENCE_S = 300
_ATTEMPT_S = 60


def count_one(api_url: str) -> None:
    """Increment a new counter, and wait until the increment is counted."""
    counter = f"{api_url}/counters/warm-up-{uuid.uuid4()}"
    _request("POST", f"{counter}/increments", headers={"Idempotency-Key": "warm-up"})
    _request("GET", counter, is_expected=lambda response: response.json()["version"] > 0)


def start_processes(api_url: str, number: int) -> None:
    """Send this number of requests at once. If a request finds every process busy, another process starts."""
    with ThreadPoolExecutor(number) as pool:
        for future in [pool.submit(_request, "GET", f"{api_url}/counters/warm-up") for _ in range(number)]:
            future.result()


def _request(
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    is_expected: Callable[[httpx.Response], bool] = lambda _: True,
) -> None:
    """
    Repeat the request until it succeeds with the expected response.

    Raises:
        TimeoutError: no attempt had the expected response in time.
    """
    last, pause, deadline = "no attempt", threading.Event(), time.monotonic() + _PATIENCE_S
    with httpx.Client(timeout=_ATTEMPT_S) as http:
        while time.monotonic() < deadline:
            try:
                response = http.request(method, url, headers=headers)
            except httpx.TransportError as error:
                last = repr(error)
            else:
                last = f"{response.status_code} {response.text}"
                if not response.is_server_error and is_expected(response.raise_for_status()):
                    return
            pause.wait(0.2)
    raise TimeoutError(f"{method} {url} had no expected response within {_PATIENCE_S} s. The last attempt: {last}")
