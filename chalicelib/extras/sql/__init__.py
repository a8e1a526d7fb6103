"""Optional: a relational read model, for SQL queries. On if `SQL_URL` is set."""
