"""The rules of counting. They use no I/O, clock, randomness or environment. Imports no other package of the project."""
