"""Rows as they land: the contract they keep, and why some are refused."""
