"""Code that tests and benchmarks share: an embedded AWS in this process, faults, recorded requests and built events."""
