"""The text of the report on each measurement, from its stored figures: a module for each."""
