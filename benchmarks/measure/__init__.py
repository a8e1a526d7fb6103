"""Measurements: each module runs the system and returns figures, or supports the modules that do."""
