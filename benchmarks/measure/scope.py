"""What is compared, in which sizes, and the goals: defined once, for the measurements and for the report."""

from __future__ import annotations

from typing import Final

from benchmarks import alternatives

OURS: Final = "this one"

#: Every design, in the order of all tables.
DESIGNS: Final = (OURS, *(alternative.name for alternative in alternatives.ALL))

#: Of `spending`: events in a batch, over how many counters, and the parts of an increment in their order.
BATCHES: Final = (1, 10, 100, 1000)
SPREADS: Final = (1, 10, 1000)
COMMAND, PUBLISH, COUNTING = "command", "publish", "counting"
MEASURES: Final = {"write_units": "write units", "read_units": "read units", "requests": "requests", "bytes": "bytes"}

#: Of `spending`, this design alone: sizes of messages, in which order they come, and the paths that are less usual.
#: Of a busy second, so many events are counted before the lone one.
ORDERED: Final = (1, 10, 100, 1000)
IN_ORDER, IN_PAIRS, DELAYED = "in order", "in pairs, the later one first", "one in ten delayed by 0.5 to 2.5 s"
REDELIVERY, REPLAY = "redelivery of counted events", "replay of counted events"
BUSY_SECOND, ADD_AND_GET, SWAP = "lone event in a busy second", "add-and-get", "compare-and-swap"
HALF: Final = 500
MOST_UNITS: Final = {1: 2.15, 10: 1.3, 100: 1.08, 1000: 1.05}
MOST_UNITS_OF_PATHS: Final = {REDELIVERY: 0, REPLAY: 0, BUSY_SECOND: 2.15, ADD_AND_GET: 2.15, SWAP: 4.15}

#: Of `working`: events of one counter in a batch, and events of as many counters; and how much a function may take, a
#: command as a multiple of the bare put, and counting by batch as multiples of the bare write.
WORKED: Final = (1, 10, 100, 1000)
WORKED_APART: Final = 1000
APART: Final = f"count {WORKED_APART} of {WORKED_APART} counters"
PROFILED: Final = 100
COMMAND_GOAL: Final = 1.5
COUNTING_GOALS: Final = {1: 1.5, 100: 1.5, 1000: 2.0}
BY_GATEWAY: Final = "the function, from the gateway's event to its response"
FUNCTION: Final = "the function"
READ_TOO: Final = "the bare read and write"
PARSE_TOO: Final = "the bare read and write, and `json.loads` of the message"

#: Of `crowding`: events in a batch, workers, over how many counters, which designs, and how long a request takes. The
#: goals compare with one worker, by batch on one counter and on all; and with another design, with as many workers.
CROWDED: Final = (1, 10, 100, 1000)
WORKERS: Final = (1, 2, 4, 8)
CROWDED_SPREADS: Final = (1, 100)
CROWDED_DESIGNS: Final = tuple(name for name in DESIGNS if name != alternatives.FIFO.name)
READ_MS, WRITE_MS, TRANSACTION_MS = 3, 5, 10
PACE_UNIT: Final = alternatives.MARKING.name
SCALING_GOALS: Final = ((1, 1, 5), (10, 1, 4), (100, 100, 4))
PACE_GOAL: Final = 2
PACE_GOAL_AT: Final = (100, 100)

#: Of `lag`: increments a second, for how many seconds, on how many counters. A load is disturbed if more than `BUSY` of
#: the processors is in use before it. `WINDOWED` are rates a second for the model, of which a partition takes 1,000 at
#: most; `WINDOWS` are in seconds; a window in which events are given up is tried again with `FEW_PROJECTORS`.
LAGGED: Final[tuple[tuple[int, int, int], ...]] = (
    (1, 60, 1),
    (5, 40, 1),
    (20, 30, 1),
    (50, 20, 1),
    (100, 15, 1),
    (20, 30, 20),
    (50, 20, 20),
    (200, 10, 1),
    (400, 8, 1),
)
BUSY: Final = 0.2
WINDOWED: Final[tuple[int, ...]] = (1, 10, 100, 900)
WINDOWED_PLOTTED: Final = 100  # beyond, batches are full, and all windows are one
WINDOWS: Final[tuple[int, ...]] = (0, 1, 2, 5, 10, 20, 60)
FEW_PROJECTORS: Final = 2

#: Of `starting`: the unit of all starts, and the programs that are started for comparison.
START_UNIT: Final = "boto3"
MINIMAL: Final = "a minimal Chalice app"
WITH_BYTECODE: Final = f"{MINIMAL}, with bytecode"
BARE: Final = "a bare handler"
