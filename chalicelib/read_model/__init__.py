"""
The read model: late, disposable, and made from the log alone.

    writer       count events exactly once
    store        items of DynamoDB to and from the states of `domain`
    queries      what clients ask for
    corrections  the conditional writes of repairs
    checkpoint   how far a scheduled job got
"""
