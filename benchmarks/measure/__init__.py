"""Run the system and return figures. Some modules only support the modules that measure."""
