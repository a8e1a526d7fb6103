"""
Evaluate CloudWatch alarms by AWS's documented rules.

The embedded AWS does not follow these rules: it computes one value from all recent data points.

The rules are those of "Configuring how CloudWatch alarms treat missing data" and "Avoiding premature transitions to
alarm state" in the user guide. AWS does not publish how many periods it reads beyond the alarm's own. Its examples read
two more, and so does this module.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

OK, IN_ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"

_EXTRA_PERIODS = 2

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}


@dataclass(frozen=True)
class Alarm:
    """An alarm that fires if all of its `periods` breach the threshold."""

    periods: int
    threshold: float
    comparison: str
    missing: str

    def state(self, series: Sequence[float | None], before: str) -> str:
        """Return the state after the last value of the series. None means a period without a data point."""
        read = [None if value is None else self._breaches(value) for value in series]
        read = read[-(self.periods + _EXTRA_PERIODS) :]
        real = [breaches for breaches in read if breaches is not None]
        if len(real) >= self.periods:
            return IN_ALARM if all(real[-self.periods :]) else OK
        if self.missing == "breaching":
            return IN_ALARM if all(real) else OK
        if self.missing == "notBreaching" or not all(real):
            return OK
        if self.missing == "ignore":
            return before
        if not real:
            return INSUFFICIENT_DATA
        oldest = len(read) - read.index(True)
        return IN_ALARM if oldest >= self.periods else before

    def _breaches(self, value: float) -> bool:
        return _COMPARISONS[self.comparison](value, self.threshold)


def states(alarm: Alarm, series: Sequence[float | None]) -> list[str]:
    """Return the alarm's state after each period of the series, which begins at the alarm's creation."""
    found: list[str] = []
    for end in range(1, len(series) + 1):
        found.append(alarm.state(series[:end], found[-1] if found else INSUFFICIENT_DATA))
    return found
