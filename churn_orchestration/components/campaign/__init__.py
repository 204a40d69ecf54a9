"""A campaign: its lists by day, and what came of them."""
