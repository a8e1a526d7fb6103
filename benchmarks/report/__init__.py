"""The pages of the report, rendered from stored figures."""
