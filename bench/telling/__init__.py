"""What the report says of each measurement, from what was stored of it: a module for each."""
