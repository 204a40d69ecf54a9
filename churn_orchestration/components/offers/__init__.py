"""What to offer to whom, as tables by day."""
