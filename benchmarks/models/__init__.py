"""Models: capacity, prices and limits of AWS, without running anything."""
