"""
Define AWS's list prices in us-east-1, in USD: the first tier of each price, without free tiers.

AWS's pricing pages load their figures with JavaScript, so each figure comes from a stored copy of a page that quotes
it. To update prices, change this file and run `make cost`.
"""

from dataclasses import dataclass
from typing import Final

READ_ON: Final = "2026-11-24"
REGION: Final = "us-east-1"

_MILLION = 1_000_000
_GB = 10**9


@dataclass(frozen=True, slots=True)
class Price:
    """A price in USD for an amount, AWS's page for it, and the page from which it was read, with its date."""

    usd: float
    per: int
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

_DEVELOPER_GUIDE = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide"
_GATEWAYS_COMPARED = (
    "https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration/"
    "cost-optimization.html, undated"
)
_LAMBDA_EXPLAINED = "https://cloudchipr.com/blog/aws-lambda-pricing, 2024"
_ARTILLERY = "https://app.unpkg.com/artillery@2.0.28/files/lib/platform/aws-lambda/prices.js, undated"
_DYNAMODB_EXPLAINED = "https://airbyte.com/data-engineering-resources/dynamodb-pricing, 2025-07-21"
_SQS_EXPLAINED = "https://cloudburn.io/blog/amazon-sqs-pricing, 2026-03-14"
_CLOUDWATCH_EXPLAINED = "https://signoz.io/guides/cloudwatch-pricing, 2026-02-15"
_TRANSFER_EXPLAINED = "https://wring.co/blog/aws-data-transfer-pricing-guide, 2026"
_WAF_EXPLAINED = "https://c3x.dev/blog/aws-waf-cost-explained/, undated"
_CLOUDFRONT_REQUESTS_EXPLAINED = (
    "https://kindatechnical.com/aws-certification-associate-developer/lesson-87-cloudfront-pricing.html, undated"
)
_CLOUDFRONT_BYTES_EXPLAINED = "https://wring.co/blog/aws-cloudfront-pricing-guide, 2026-03-08"

REST_REQUESTS: Final = Price(3.50, _MILLION, _API_GATEWAY, _GATEWAYS_COMPARED)
HTTP_REQUESTS: Final = Price(1.00, _MILLION, _API_GATEWAY, _GATEWAYS_COMPARED)
#: Transfer to the internet.
BYTES_OUT: Final = Price(0.09, _GB, _EC2, _TRANSFER_EXPLAINED)

INVOCATIONS: Final = Price(0.20, _MILLION, _LAMBDA, _LAMBDA_EXPLAINED)
#: The price on arm64.
GB_SECONDS: Final = Price(0.0000133334, 1, _LAMBDA, _ARTILLERY)

WRITE_UNITS: Final = Price(0.625, _MILLION, _DYNAMODB, _DYNAMODB_EXPLAINED)
READ_UNITS: Final = Price(0.125, _MILLION, _DYNAMODB, _DYNAMODB_EXPLAINED)
STORED_BYTE_MONTHS: Final = Price(0.25, _GB, _DYNAMODB, "https://aws.amazon.com/dynamodb/pricing/, undated")
#: AWS does not charge for Lambda's reads of a stream.
STREAM_READS_BY_LAMBDA: Final = Price(
    0.0, _MILLION, _DYNAMODB, f"{_DEVELOPER_GUIDE}/CostOptimization_StreamsUsage.html, undated"
)

#: Requests to a standard queue. AWS charges a request per 64 KB of payload, rounded up.
QUEUE_REQUESTS: Final = Price(0.40, _MILLION, _SQS, _SQS_EXPLAINED)
QUEUE_CHUNK_BYTES: Final = 64 * 1024

LOG_BYTES: Final = Price(0.50, _GB, _CLOUDWATCH, _CLOUDWATCH_EXPLAINED)
METRIC_MONTHS: Final = Price(0.30, 1, _CLOUDWATCH, _CLOUDWATCH_EXPLAINED)

WEB_ACL_MONTHS: Final = Price(5.00, 1, _WAF, _WAF_EXPLAINED)
WEB_ACL_RULE_MONTHS: Final = Price(1.00, 1, _WAF, _WAF_EXPLAINED)
#: Requests that a web ACL inspects, including those that it blocks.
INSPECTED_REQUESTS: Final = Price(0.60, _MILLION, _WAF, _WAF_EXPLAINED)

#: HTTPS requests, and transfer to the internet, in the United States and Europe.
CLOUDFRONT_REQUESTS: Final = Price(0.01, 10_000, _CLOUDFRONT, _CLOUDFRONT_REQUESTS_EXPLAINED)
CLOUDFRONT_BYTES_OUT: Final = Price(0.085, _GB, _CLOUDFRONT, _CLOUDFRONT_BYTES_EXPLAINED)
