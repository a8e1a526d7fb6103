"""The section on the batching window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.report import plots
from benchmarks.report.markdown import Section, percent, short, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _says(raw: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            f"{row['rate']:,}",
            _window(row),
            f"{row['lag_p50_s']:.1f} s",
            f"{row['lag_p99_s']:.1f} s",
            f"{row['batch']:.1f}" if row["batch"] < 10 else f"{row['batch']:,.0f}",
            f"{row['write_units']:.2f}",
            short(row["runs"]),
            percent(row["given_up_share"]),
            f"{row['usd']:.2f}",
        ]
        for row in raw
    ]
    head = ["a second", "window", "50 %", "99 %", "a batch", "write units", "runs", "given up", "USD"]
    return "\n\n".join(
        (
            "What the batching window trades, for one counter, by the model of [scale](scale.md) and not measured. The "
            "stream waits for `BATCHING_WINDOW_S` from the first event and gives `publish` all events that came: a "
            "longer window makes fewer and fuller batches, which are cheaper, and later. *50 %* and *99 %* are what "
            "these shares of the lags do not exceed, *a batch* is the number of events in one, *write units* are for "
            "counting an event, and *runs* are those of `publish` and `project` for an event. *Given up* is the share "
            "of events that are left to the queue after too many conflicts; it redelivers them after three minutes, "
            "which these lags include. *USD* are for a million increments in total, except for the time that retries "
            "take. [Cost](cost.md) is higher at low rates, because there a batch is what comes in a window, without "
            "the event that begins it. In the plot, USD are "
            f"without {_commands_own(raw)} that commands and an idle queue cost with any window.",
            "![Window](figures/window.svg)",
            table(head, rows),
            _bought(raw),
        )
    )


def _commands_own(raw: Sequence[Mapping[str, Any]]) -> str:
    each = [row["usd"] - row["usd_after_command"] for row in raw]
    return f"the {min(each):.2f} to {max(each):.2f}"


def _window(row: Mapping[str, Any]) -> str:
    few = row["projectors"] == scope.FEW_PROJECTORS
    return f"{row['window_s']} s" + (f", `PROJECTORS` = {scope.FEW_PROJECTORS}" if few else "")


def saved(raw: Sequence[Mapping[str, Any]], rate: int, shorter_s: int, longer_s: int) -> float:
    """Return how many USD a million increments cost less with the longer window."""
    usd = {
        row["window_s"]: row["usd"] for row in raw if row["rate"] == rate and row["projectors"] != scope.FEW_PROJECTORS
    }
    return float(usd[shorter_s] - usd[longer_s])


def saved_beside_few(raw: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return the same for a second of window and none with few `PROJECTORS`, by rate."""
    few = {row["rate"]: row["usd"] for row in raw if row["projectors"] == scope.FEW_PROJECTORS and not row["window_s"]}
    one_s = {row["rate"]: row["usd"] for row in raw if row["window_s"] == 1}
    return {rate: usd - one_s[rate] for rate, usd in few.items()}


def _bought(raw: Sequence[Mapping[str, Any]]) -> str:
    rates = list(dict.fromkeys(row["rate"] for row in raw))

    def listed(shorter_s: int, longer_s: int) -> str:
        return ", ".join(f"{saved(raw, rate, shorter_s, longer_s):.2f} at {rate:,}" for rate in rates)

    text = (
        f"The first second of window saves, in USD for a million increments at so many a second: {listed(0, 1)}. Nine "
        f"more save {listed(1, 10)}. The default is one second."
    )
    if few := saved_beside_few(raw):
        compared = ", ".join(f"{usd:.2f} at {rate:,}" for rate, usd in few.items())
        text += (
            " Without a window, a busy counter is written by many batches at once, which conflict. If a second is too "
            f"late, `PROJECTORS` = {scope.FEW_PROJECTORS} avoids most conflicts, too: compared with that, a second of "
            f"window saves {compared}."
        )
    return text


def _drawn(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    windows = [row for row in raw if row["projectors"] != scope.FEW_PROJECTORS]
    traded = {
        f"{rate:,} a second": [(row["lag_p50_s"], row["usd_after_command"]) for row in windows if row["rate"] == rate]
        for rate in dict.fromkeys(row["rate"] for row in windows)
        if rate <= scope.WINDOWED_PLOTTED
    }
    windows_s = ", ".join(str(seconds) for seconds in dict.fromkeys(row["window_s"] for row in windows))
    window = plots.lines(
        f"Windows of {windows_s} s, from left to right, by the model",
        "lag in seconds, 50 %",
        "USD a million, without the command",
        traded,
        x_decades=True,
    )
    return {"window": window}


SECTION: Final = Section("Batching window", _says, _drawn)
