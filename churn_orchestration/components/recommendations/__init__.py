"""What the platform itself recommends, by day."""
