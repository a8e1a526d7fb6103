"""Decide which callers may increment and read, and which counters exist."""
