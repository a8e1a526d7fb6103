"""
Run the embedded AWS with a Scan whose time grows with the number of items that it reads, like DynamoDB's Scan.

The Scan of the embedded AWS sorts the whole table for each page. Sorting would hide how the commands' time grows with
the log.
"""

import bisect
import hashlib
import runpy
from typing import Any

from ministack.core.responses import json_response
from ministack.services import dynamodb

_ORIGINAL: Any = dynamodb._scan
_KNOWN = {"TableName", "Segment", "TotalSegments", "Limit", "ExclusiveStartKey", "ConsistentRead"}

#: The sorted keys of each segment, as of the beginning of its scan.
_begun: dict[tuple[str, int, int], list[tuple[str, str]]] = {}


def scan(data: dict[str, Any]) -> Any:
    """Return one page of a scan. Pass scans with a filter or other unsupported parameters to the original function."""
    if any(value for name, value in data.items() if name not in _KNOWN and name != "ReturnConsumedCapacity"):
        return _ORIGINAL(data)
    table = dynamodb._tables[data["TableName"]]
    part = (data["TableName"], int(data.get("Segment", 0)), int(data.get("TotalSegments", 1)))
    start = data.get("ExclusiveStartKey")
    if start is None:
        _begun[part] = sorted((pk, sk) for pk, items in table["items"].items() if _is_in(pk, *part[1:]) for sk in items)
    keys = _begun[part]
    first = 0 if start is None else bisect.bisect_right(keys, _key(table, start))
    found = [table["items"][pk][sk] for pk, sk in keys[first:][: int(data.get("Limit", 1000))]]
    answer: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": len(found)}
    if first + len(found) < len(keys):
        names = filter(None, (table["pk_name"], table.get("sk_name")))
        answer["LastEvaluatedKey"] = {name: found[-1][name] for name in names}
    return json_response(answer)


def _is_in(pk: str, segment: int, segments: int) -> bool:
    return int.from_bytes(hashlib.sha1(pk.encode(), usedforsecurity=False).digest()[:4], "big") % segments == segment


def _key(table: Any, start: dict[str, Any]) -> tuple[str, str]:
    pk, sk = (next(iter(start[name].values())) if name else "" for name in (table["pk_name"], table.get("sk_name")))
    return pk, sk


if __name__ == "__main__":
    dynamodb._scan = scan
    runpy.run_module("ops.local.ministack_process", run_name="__main__")
