"""Drift, performance and grades of a question."""
