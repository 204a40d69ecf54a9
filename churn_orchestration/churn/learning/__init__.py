"""From snapshots to a model, and from a forecast to its reasons."""
