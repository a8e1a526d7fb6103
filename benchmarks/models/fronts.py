"""
Price a request at each front of a stage.

A function URL has no separate price. An HTTP API charges per 512 KB, rounded up, but every request and response of this
API is smaller. With every front, AWS also charges for data transfer out to the internet.
"""

from dataclasses import dataclass
from typing import Final

from benchmarks.models import pricing
from benchmarks.models.pricing import Price

_HEADERS: Final = (
    "HTTP/1.1 202 Accepted\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Length: 150\r\nConnection: keep-alive\r\n"
)
_REQUEST_ID: Final = "x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
_TRACE: Final = "X-Amzn-Trace-Id: Root=1-00000000-000000000000000000000000"


@dataclass(frozen=True, slots=True)
class Front:
    """The price of a request, if any, and typical headers that the front adds to each response."""

    requests: Price | None
    headers: str

    def price(self, answer_bytes: int) -> float:
        """Return the price of a request with a response of this size, in USD."""
        request_usd = self.requests.of(1) if self.requests else 0
        return request_usd + pricing.BYTES_OUT.of(answer_bytes + len(self.headers))


REST: Final = Front(
    pricing.REST_REQUESTS, f"{_HEADERS}{_REQUEST_ID}x-amz-apigw-id: AAAAAAAAAAAAAAA=\r\n{_TRACE}\r\n\r\n"
)
HTTP: Final = Front(pricing.HTTP_REQUESTS, f"{_HEADERS}Apigw-Requestid: AAAAAAAAAAAAAAA=\r\n\r\n")
URL: Final = Front(
    None, f"{_HEADERS}{_REQUEST_ID}{_TRACE};Parent=0000000000000000;Sampled=0;Lineage=1:00000000:0\r\n\r\n"
)

#: The fronts, by their names in the setting FRONT.
FRONTS: Final = {"rest": REST, "http": HTTP, "url": URL}
