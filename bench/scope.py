"""What is compared, in what sizes, and what is hoped for: said once, for those who measure and for the report."""

from __future__ import annotations

from typing import Final

from bench import rivals

OURS: Final = "this one"

#: Every design, in the order of all tables.
DESIGNS: Final = (OURS, *(rival.name for rival in rivals.ALL))

#: Of `spending`: events in a batch, over how many counters, and the parts of an increment in the order of its way.
BATCHES: Final = (1, 10, 100, 1000, 10_000)
SPREADS: Final = (1, 10, 1000)
COMMAND, PUBLISH, COUNTING = "command", "publish", "counting"
MEASURES: Final = {"write_units": "write units", "read_units": "read units", "requests": "requests", "bytes": "bytes"}

#: This design in the middle of a busy second, of which so many events are counted before.
HALF_FULL: Final = f"{OURS}, in a second half counted"
HALF: Final = 500

#: Of `working`: events in a batch, and how much a function may take: a command, as multiples of the bare put, and
#: counting in batches of at least so many, as multiples of the bare transaction.
WORKED: Final = (1, 10, 100, 1000)
COMMAND_GOAL: Final = 1.5
COUNTING_GOAL: Final = 1.3
COUNTING_GOAL_FROM: Final = 100
BY_GATEWAY: Final = "the function, from the gateway's event to its answer"
FUNCTION: Final = "the function"
READ_TOO: Final = "the bare transaction, and the read before it"

#: Of `crowding`: events in a batch, workers, over how many counters, which designs, with which of them they are
#: compared, and how many times its pace is hoped for, in batches of at least so many.
CROWDED: Final = (1, 10, 100, 1000)
WORKERS: Final = (1, 2, 4, 8)
CROWDED_SPREADS: Final = (1, 100)
CROWDED_DESIGNS: Final = tuple(name for name in DESIGNS if name != rivals.FIFO.name)
PACE_UNIT: Final = rivals.MARKING.name
PACE_GOAL: Final = 10
PACE_GOAL_FROM: Final = 100

#: Of `lag`: increments a second, for how many seconds, on how many counters; with how much of the processors in use
#: before, a load is said to be disturbed; how many a second the model is asked what a window trades for, a partition
#: taking 1,000 at most; windows in seconds, and with how few runs of `project` at once one is tried again in which
#: events are given up.
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

#: Of `starting`: what a start is a multiple of, and what else is started beside our functions.
START_UNIT: Final = "boto3"
MINIMAL: Final = "a minimal Chalice app"
WITH_BYTECODE: Final = f"{MINIMAL}, with bytecode"
BARE: Final = "a bare handler"
