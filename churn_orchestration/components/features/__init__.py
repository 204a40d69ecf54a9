"""Feature tables: daily parts, gold, and the proof against the future."""
