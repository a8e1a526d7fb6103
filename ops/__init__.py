"""The operators' program. It runs where the operator is and never ships to Lambda."""
