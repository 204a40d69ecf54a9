"""Snapshots, models and what is decided on them."""
