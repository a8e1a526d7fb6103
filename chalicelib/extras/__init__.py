"""Optional features. Only `app.py` and the operators' CLI import them."""
