"""Segments: who the customers of a day are, by rules in YAML."""
