"""Generate the OpenAPI document of the API."""
