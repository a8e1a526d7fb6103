"""
Compare the read model with the log, and repair it in place.

    verifier          stage read models and the log, wait for pending events, report differences: `verify`
    part_comparison   the differences between the counters' parts and the log
    repair            correct the differences while the system runs: `rebuild`
    corrections       the conditional writes of repairs
    scheduled_check   check sections of the log and the read model in each run, and count missed events: `check`
    purges            the purges that a scan of the log finds
    checkpoint        the progress of the scheduled check, kept between runs
    report            the differences, by kind
    staging_db        the temporary database in which the log and the parts are staged
"""
