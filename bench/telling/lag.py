"""The lag from accepted to counted, and what a window trades, told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench import plots, scope
from bench.telling.writing import DASH, Section, percent, short, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the parts of a lag are called, in their order.
_PARTS: Final = {
    "appending": "the command's append",
    "in_stream": "until `publish` runs",
    "publishing": "`publish`, until it has sent",
    "in_queue": "until `project` runs",
    "projecting": "`project`, until it has counted",
}


def _says(raw: Mapping[str, Any]) -> str:
    kept_up = [row for row in raw["loads"] if row["keeps_up"]]
    too_much = [row for row in raw["loads"] if not row["keeps_up"]]
    disturbed = [row for row in raw["loads"] if row["busy_before"] > scope.BUSY]
    head = ["a second", "counters", "increments", "before", "busy", "events a message", "lag, 50 %", "99 %", "the most"]
    rows = [
        [
            f"{row['rate']:g}",
            f"{row['counters']}",
            f"{row['sent']:,}",
            f"{100 * row['busy_before']:.0f} %",
            f"{100 * row['busy']:.0f} %",
            f"{row['events_a_message']:.1f}",
            *(
                [f"{row['lag_ms'][what]:,} ms" for what in ("p50", "p99", "most")]
                if row["keeps_up"]
                else ["**too much**", DASH, DASH]
            ),
        ]
        for row in raw["loads"]
    ]
    parts = [
        "The *lag* of an increment is the time from when it is accepted to when it is counted.",
        "**Measured**, on the embedded AWS with everything deployed. Increments are sent at a steady pace, whether or "
        "not those before have been answered. The functions' log lines tell when each was accepted (the time that its "
        "event bears), published and counted, to a millisecond; when a run of `publish` or `project` began is reckoned "
        "from its end and its duration, as the platform tells them, to some milliseconds. *50 %* and *99 %* are what "
        "so many of the lags do not exceed; of fewer than a hundred increments, 99 % is the most. Sender, AWS and "
        "functions, the relational read model's among them, share one machine, so milliseconds are this machine's. "
        "*Busy* is how much of its processors was in use, by whomever, while increments were sent, and *before* how "
        "much in the second before: each load waits for the machine to come to rest, for a minute at most. AWS's own "
        "waits are not in these figures, nor is a batching window: what comes while `publish` runs is its next batch.",
        table(head, rows),
    ]
    if disturbed:
        parts.append(
            f"**Something else kept the machine busy** before {len(disturbed)} of these {len(rows)} loads. Their "
            "longest lags, above all, may be longer than this system makes them by itself, and what was too much need "
            "not be too much for a machine that has nothing else to do."
        )
    if too_much:
        listed = " and ".join(f"{row['rate']:g} a second ({row['sent_a_second']:.0f} were sent)" for row in too_much)
        parts.append(
            f"This machine did not keep up with {listed}. A load is too much if increments cannot be sent in time, "
            "because too many others have no answer yet, or if the last quarter of them wait over twice as long to be "
            "counted as the first. No lag is told of it: it would be that of fewer a second, or grow with the time "
            "measured. What AWS takes is under [scale](scale.md)."
        )
    if kept_up:
        parts += _parts_of_lag(kept_up)
    parts.append(
        f"The first increment of all, for which every function has to start, took {raw['first_ms'] / 1000:.1f} s. It "
        "is in none of these rows."
    )
    return "\n\n".join((*parts, *_windows(raw["windows"])))


def _parts_of_lag(kept_up: Sequence[Mapping[str, Any]]) -> list[str]:
    def cell(row: Mapping[str, Any], part: str) -> str:
        lasts = row["parts_ms"][part]
        return f"{lasts['p50']:,} / {lasts['p99']:,} ms, {100 * row['shares'][part]:.0f} %"

    rows = [[f"{row['rate']:g}", f"{row['counters']}", *(cell(row, part) for part in _PARTS)] for row in kept_up]
    first, last = (
        f"{_PARTS[part]}, {100 * row['shares'][part]:.0f} %"
        for row in (kept_up[0], kept_up[-1])
        for part in [max(_PARTS, key=lambda part: row["shares"][part])]
    )
    return [
        "**What it is made of.** Each increment's lag is the sum of five parts. A cell has what half and 99 % of "
        "them do not exceed, and the part's share of all lags together. In the plot the parts are means.",
        *(["![Lag](figures/lag.svg)"] if len(_plotted(kept_up)) > 1 else []),
        table(["a second", "counters", *_PARTS.values()], rows),
        f"The largest part is in the first row *{first}*, and in the last *{last}*. Two parts are the embedded "
        "AWS's ways more than ours. *Until `publish` runs*: each write wakes it to look at the stream, but if it was "
        "woken and found nothing, it sleeps for 50 ms, and at some twenty a second the next event often comes in that "
        "time. *Until `project` runs*: it looks into the queue only when `publish` has ended, which by then has sent "
        "to the other projection's queue, too.",
    ]


def _windows(raw: Sequence[Mapping[str, Any]]) -> list[str]:
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
    return [
        "**What the batching window trades**, for one counter, by the model of [scale](scale.md) and not measured. The "
        "stream waits for `BATCHING_WINDOW_S` from an event on and gives `publish` all that came: a longer window "
        "makes fewer and fuller batches, which are cheaper, and later. *50 %* and *99 %* are what so many of the lags "
        "do not exceed, *a batch* is how many events are in one, *write units* are for counting an event, and *runs* "
        "are those of `publish` and `project` for an event. *Given up* is what share of events is left to the queue "
        "because too many write the counter at once; it is delivered again after three minutes, which these lags have "
        "in them. *USD* are for a million increments, all told, but for the time in which functions try again. A "
        "second that is counted in several batches is written again with each, at the size that its bucket has by "
        "then. [Cost](cost.md) is dearer at few a second, for it reckons a batch as what comes in a window, without "
        "the event that begins it. In the plot, "
        f"USD are without {_commands_own(raw)} that the command and a queue that is empty cost whatever the window.",
        "![Window](figures/window.svg)",
        table(head, rows),
        _bought(raw),
    ]


def _commands_own(raw: Sequence[Mapping[str, Any]]) -> str:
    each = [row["usd"] - row["usd_after_command"] for row in raw]
    return f"the {min(each):.2f} to {max(each):.2f}"


def _window(row: Mapping[str, Any]) -> str:
    few = row["projectors"] == scope.FEW_PROJECTORS
    return f"{row['window_s']} s" + (f", `PROJECTORS` = {scope.FEW_PROJECTORS}" if few else "")


def saved(raw: Sequence[Mapping[str, Any]], rate: int, shorter_s: int, longer_s: int) -> float:
    """How many USD a million increments cost less with the longer window."""
    usd = {
        row["window_s"]: row["usd"] for row in raw if row["rate"] == rate and row["projectors"] != scope.FEW_PROJECTORS
    }
    return float(usd[shorter_s] - usd[longer_s])


def saved_beside_few(raw: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The same of a second of window beside none with few `PROJECTORS`, by the rates at which that was tried."""
    few = {row["rate"]: row["usd"] for row in raw if row["projectors"] == scope.FEW_PROJECTORS and not row["window_s"]}
    one_s = {row["rate"]: row["usd"] for row in raw if row["window_s"] == 1}
    return {rate: usd - one_s[rate] for rate, usd in few.items()}


def _bought(raw: Sequence[Mapping[str, Any]]) -> str:
    rates = list(dict.fromkeys(row["rate"] for row in raw))

    def listed(shorter_s: int, longer_s: int) -> str:
        return ", ".join(f"{saved(raw, rate, shorter_s, longer_s):.2f} at {rate:,}" for rate in rates)

    said = (
        f"The first second of window saves, in USD for a million increments at so many a second: {listed(0, 1)}. Nine "
        f"more save {listed(1, 10)}. A second of window is what is deployed."
    )
    if few := saved_beside_few(raw):
        beside = ", ".join(f"{usd:.2f} at {rate:,}" for rate, usd in few.items())
        said += (
            " Without a window a busy counter is written by many batches at once, which refuse each other, and most of "
            f"what a second saves there is that. Where a second is too late, `PROJECTORS` = {scope.FEW_PROJECTORS} "
            f"mends it, too: beside that, a second of window saves {beside}."
        )
    return said


def _plotted(loads: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in loads if row["keeps_up"] and row["counters"] == 1]


def _drawn(raw: Mapping[str, Any]) -> dict[str, str]:
    rows = _plotted(raw["loads"])
    series = {
        "all, 99 %": [(row["rate"], row["lag_ms"]["p99"]) for row in rows],
        "all, 50 %": [(row["rate"], row["lag_ms"]["p50"]) for row in rows],
        **{name: [(row["rate"], row["parts_ms"][part]["mean"]) for row in rows] for part, name in _PARTS.items()},
    }
    windows = [row for row in raw["windows"] if row["projectors"] != scope.FEW_PROJECTORS]
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
    if len(rows) < 2:
        return {"window": window}
    lag = plots.lines("Lag of one counter, and the means of its parts, measured", "increments a second", "ms", series)
    return {"lag": lag, "window": window}


SECTION: Final = Section("From accepted to counted", _says, _drawn)
