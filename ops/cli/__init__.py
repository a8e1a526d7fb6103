"""The command line: options, results, errors and progress. Click stops here."""
