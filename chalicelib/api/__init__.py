"""Turn HTTP requests into commands and queries, results into responses, and errors into problem documents."""
