"""Predictions of a day, and what was issued."""
