"""Define the sizes, labels and goals of the measurements, which the report also uses."""

from typing import Final

from benchmarks import alternatives

OURS: Final = "this one"

#: Every design, in the order that all tables use.
DESIGNS: Final = (OURS, *(alternative.name for alternative in alternatives.ALL))

#: `request_costs`: events in a batch, number of counters, and the phases of an increment.
BATCHES: Final = (1, 10, 100, 1000)
SPREADS: Final = (1, 10, 1000)
COMMAND, PUBLISH, COUNTING = "command", "publish", "counting"
MEASURES: Final = {"write_units": "write units", "read_units": "read units", "requests": "requests", "bytes": "bytes"}

#: `request_costs` of the project's own design: orders of messages, paths, and the goals in write units.
IN_ORDER, IN_PAIRS, DELAYED = "in order", "in pairs, the later one first", "one in ten delayed by 0.5 to 2.5 s"
REDELIVERY, REPLAY = "redelivery of counted events", "replay of counted events"
BUSY_SECOND, ADD_AND_GET, SWAP = "lone event in a busy second", "add-and-get", "compare-and-swap"
EVENTS_BEFORE_LONE: Final = 500
MOST_UNITS: Final = {1: 2.15, 10: 1.3, 100: 1.08, 1000: 1.05}
MOST_UNITS_OF_PATHS: Final = {REDELIVERY: 0, REPLAY: 0, BUSY_SECOND: 2.15, ADD_AND_GET: 2.15, SWAP: 4.15}

#: `cpu_time`: the sizes of batches of one counter, the size of a batch with one event per counter, and the goals as
#: multiples of the bare calls.
CPU_BATCHES: Final = (1, 10, 100, 1000)
MANY_COUNTERS: Final = 1000
COUNT_MANY: Final = f"count {MANY_COUNTERS} of {MANY_COUNTERS} counters"
PROFILED: Final = 100
COMMAND_GOAL: Final = 1.5
COUNTING_GOALS: Final = {1: 1.5, 100: 1.5, 1000: 2.0}
API_HANDLER, FUNCTION = "the API handler", "the function"
READ_TOO: Final = "the bare read and write"
PARSE_TOO: Final = f"{READ_TOO}, with `json.loads` of the message"

#: `throughput`: events in a batch, workers, number of counters, designs, and the time of a request. The goals compare
#: the workers with one worker, by batch and number of counters, and with another design.
WORKER_BATCHES: Final = (1, 10, 100, 1000)
WORKERS: Final = (1, 2, 4, 8)
WORKER_SPREADS: Final = (1, 100)
WORKER_DESIGNS: Final = tuple(name for name in DESIGNS if name != alternatives.FIFO.name)
READ_MS, WRITE_MS, TRANSACTION_MS = 3, 5, 10
PACE_UNIT: Final = alternatives.MARKING.name
SCALING_GOALS: Final = ((1, 1, 5), (10, 1, 4), (100, 100, 4))
PACE_GOAL: Final = 2
PACE_GOAL_AT: Final = (100, 100)

#: `latency`: increments per second, seconds, and counters. A load is disturbed if more than this share of the
#: processors, `BUSY`, is in use before it.
LATENCY_LOADS: Final[tuple[tuple[int, int, int], ...]] = (
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

#: `latency`: the phases of a lag in their order.
LAG_PARTS: Final = {
    "append": "the command appends",
    "stream": "the stream starts `publish`",
    "publish": "`publish` sends",
    "queue": "the queue starts `project`",
    "project": "`project` counts",
}

#: `batching_windows`: rates per second, the rates in the plot, and windows. At the other rates, all batches are full.
WINDOW_RATES: Final[tuple[int, ...]] = (1, 10, 100, 900)
PLOTTED_RATES: Final = (1, 10, 100)
WINDOWS_S: Final[tuple[int, ...]] = (0, 1, 2, 5, 10, 20, 60)
FEW_PROJECTORS: Final = 2

#: `cold_start`: the unit of all starts, and the programs for comparison.
START_UNIT: Final = "`import boto3`"
MINIMAL: Final = "a minimal Chalice app"
WITH_BYTECODE: Final = f"{MINIMAL}, with bytecode"
BARE: Final = "a bare handler"
