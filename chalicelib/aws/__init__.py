"""The AWS edge: the SDK's session, tables, partitions, queues and dead letters."""
