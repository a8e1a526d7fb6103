"""Optional: reports over the relational read model, served at `/reports`."""
