"""
The read model: eventually consistent with the log, and rebuilt from the log alone.

    writer       count events exactly once
    store        consistent reads and conditional writes
    items        decode and encode items
    queries      counters, events and histories for clients
    corrections  the conditional writes of repairs
    checkpoint   the progress of a scheduled job
"""
