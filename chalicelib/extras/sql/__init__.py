"""Provide an optional read model for SQL queries. The setting `SQL_URL` enables it."""
