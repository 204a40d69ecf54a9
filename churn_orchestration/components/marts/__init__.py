"""Marts: a user's own tables over what any layer knows at the end of a day."""
