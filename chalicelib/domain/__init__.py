"""The rules of counting: no I/O, no clock, no randomness, no environment. Imports nothing of the other packages."""
