"""Optional features. Only `app.py` and the operators' program import them."""
