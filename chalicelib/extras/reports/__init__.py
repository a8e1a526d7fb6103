"""Optional: reports over the SQL read model, served at `/reports`."""
