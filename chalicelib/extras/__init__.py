"""Optional features. The other packages of `chalicelib` work without them."""
