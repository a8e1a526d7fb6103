"""Reproducible measurements. They do not ship to Lambda."""
