"""Measurements: each module runs the system and returns figures, or serves such modules."""
