"""
Define the rules of counting, without I/O, clock, randomness or environment.

This package imports no other package of the project.
"""
