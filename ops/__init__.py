"""The operators' CLI. It runs on the operator's machine and never ships to Lambda."""
