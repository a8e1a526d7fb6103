"""The command line: commands, options, outcomes, errors and progress."""
