"""Which callers may increment and read."""
