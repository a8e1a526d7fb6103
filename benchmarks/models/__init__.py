"""Models of capacity, prices and limits of AWS. They run nothing."""
