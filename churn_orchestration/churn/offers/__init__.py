"""What to offer to whom: products bought together, lists by customer, and when each is due."""
