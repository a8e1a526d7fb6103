"""
Build and query the read model. It is eventually consistent with the log, and can be rebuilt from the log alone.

    writer       count events exactly once
    queries      counters, events and histories for clients
    past         the past state of a counter
    planner      plan the writes that count entries
    store        consistent reads and conditional writes
    items        decode and encode items
"""
