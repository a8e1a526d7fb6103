"""
AWS's list prices of us-east-1 in USD, the first tier of each, without free tiers.

AWS's own pages fill in their figures by script, so each figure was read in a stored copy of a page that quotes it. To
update prices, change this file and run `make cost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READ_ON: Final = "2026-11-24"
REGION: Final = "us-east-1"

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """A price in USD for an amount of a unit, AWS's page for it, and the page with its date in which it was read."""

    usd: float
    per: int
    unit: str
    published: str
    read_in: str

    def of(self, amount: float) -> float:
        """Return the price of this amount, in USD."""
        return self.usd * amount / self.per


_API_GATEWAY = "https://aws.amazon.com/api-gateway/pricing/"
_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_SQS = "https://aws.amazon.com/sqs/pricing/"
_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_EC2 = "https://aws.amazon.com/ec2/pricing/on-demand/"
_WAF = "https://aws.amazon.com/waf/pricing/"
_CLOUDFRONT = "https://aws.amazon.com/cloudfront/pricing/"

_GATEWAYS_COMPARED = (
    "https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration/"
    "cost-optimization.html, undated"
)
_DYNAMODB_EXPLAINED = "https://airbyte.com/data-engineering-resources/dynamodb-pricing, 2025-07-21"
_LAMBDA_EXPLAINED = "https://cloudchipr.com/blog/aws-lambda-pricing, 2024"
_CLOUDWATCH_EXPLAINED = "https://signoz.io/guides/cloudwatch-pricing, 2026-02-15"
_WAF_EXPLAINED = "https://c3x.dev/blog/aws-waf-cost-explained/, undated"

REST_REQUESTS: Final = Price(3.50, _MILLION, "requests to a REST API", _API_GATEWAY, _GATEWAYS_COMPARED)
HTTP_REQUESTS: Final = Price(1.00, _MILLION, "requests to an HTTP API", _API_GATEWAY, _GATEWAYS_COMPARED)
BYTES_OUT: Final = Price(
    0.09, 10**9, "bytes out to the internet", _EC2, "https://wring.co/blog/aws-data-transfer-pricing-guide, 2026"
)

INVOCATIONS: Final = Price(0.20, _MILLION, "invocations of a function", _LAMBDA, _LAMBDA_EXPLAINED)
GB_SECONDS: Final = Price(
    0.0000133334,
    1,
    "GB-seconds, arm64",
    _LAMBDA,
    "https://app.unpkg.com/artillery@2.0.28/files/lib/platform/aws-lambda/prices.js, undated",
)

WRITE_UNITS: Final = Price(0.625, _MILLION, "write request units", _DYNAMODB, _DYNAMODB_EXPLAINED)
READ_UNITS: Final = Price(0.125, _MILLION, "read request units", _DYNAMODB, _DYNAMODB_EXPLAINED)
STORED_BYTE_MONTHS: Final = Price(
    0.25, 10**9, "bytes kept, a month", _DYNAMODB, "https://aws.amazon.com/dynamodb/pricing/, undated"
)
#: Lambda's own reading of a stream is not charged.
STREAM_READS_BY_LAMBDA: Final = Price(
    0.0,
    _MILLION,
    "reads of a stream by Lambda",
    _DYNAMODB,
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CostOptimization_StreamsUsage.html, undated",
)

#: A request is charged once for each started 64 KB of payload.
QUEUE_REQUESTS: Final = Price(
    0.40, _MILLION, "requests to a standard queue", _SQS, "https://cloudburn.io/blog/amazon-sqs-pricing, 2026-03-14"
)
QUEUE_CHUNK_BYTES: Final = 64 * 1024

LOG_BYTES: Final = Price(0.50, 10**9, "bytes of logs taken in", _CLOUDWATCH, _CLOUDWATCH_EXPLAINED)
METRIC_MONTHS: Final = Price(0.30, 1, "custom metrics, a month", _CLOUDWATCH, _CLOUDWATCH_EXPLAINED)

WEB_ACL_MONTHS: Final = Price(5.00, 1, "web ACLs, a month", _WAF, _WAF_EXPLAINED)
WEB_ACL_RULE_MONTHS: Final = Price(1.00, 1, "rules of web ACLs, a month", _WAF, _WAF_EXPLAINED)
#: Blocked requests, too.
INSPECTED_REQUESTS: Final = Price(0.60, _MILLION, "requests inspected by a web ACL", _WAF, _WAF_EXPLAINED)

#: In the United States and Europe.
CLOUDFRONT_REQUESTS: Final = Price(
    0.01,
    10_000,
    "HTTPS requests to CloudFront",
    _CLOUDFRONT,
    "https://kindatechnical.com/aws-certification-associate-developer/lesson-87-cloudfront-pricing.html, undated",
)
CLOUDFRONT_BYTES_OUT: Final = Price(
    0.085,
    10**9,
    "bytes from CloudFront to the internet",
    _CLOUDFRONT,
    "https://wring.co/blog/aws-cloudfront-pricing-guide, 2026-03-08",
)
