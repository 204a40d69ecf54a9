"""Who customers are: segments by rules."""
