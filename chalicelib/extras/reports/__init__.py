"""Serve optional reports on the SQL read model at `/reports`."""
