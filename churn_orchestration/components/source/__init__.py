"""Sources and SQL tables: from raw to silver."""
