"""Runnable measurements; none is a test."""
