"""Optional: a SQL read model, for SQL queries. Enabled if `SQL_URL` is set."""
