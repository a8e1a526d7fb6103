"""The HTTP edge: requests to commands and queries, results to responses, errors to problem documents."""
