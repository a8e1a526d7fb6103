"""Measurements: each module runs the system and returns figures."""
