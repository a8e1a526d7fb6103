"""Models of the capacity, prices and limits of AWS. They make no requests."""
