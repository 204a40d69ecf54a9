"""One churn question: its YAML block, and the assets from its snapshots to its measures."""
