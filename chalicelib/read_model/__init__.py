"""
The read model: eventually consistent with the log. It can be rebuilt from the log alone.

    writer       count events exactly once
    queries      counters, events and histories for clients
    past         the state of a counter at a time in the past
    planner      plan the writes that count entries
    store        consistent reads and conditional writes
    items        decode and encode items
"""
