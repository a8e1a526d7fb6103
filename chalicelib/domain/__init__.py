"""The rules of counting: no I/O, no clock, no randomness, no environment. Imports no other package of the project."""
