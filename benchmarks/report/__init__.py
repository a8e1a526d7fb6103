"""Render the pages of the report from stored figures."""
