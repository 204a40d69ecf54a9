"""Files and queries become raw rows."""
