"""
Compare the read model with the log, and repair it in place.

    comparison        find differences, of all counters or of some: `verify`
    repair            correct them, while increments are counted and queries answered: `rebuild`
    scheduled_check   compare and count what was missed, a part of the log at each run: `check`
    report            what a comparison found
    staging_db        the temporary database in which they compare
"""
