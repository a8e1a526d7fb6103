"""Reproducible measurements, which do not ship to Lambda."""
