"""Churn prediction as a lineage graph: YAML and SQL choose, Dagster wires, pure functions compute."""
