"""Churn prediction as an orchestrated lineage graph: YAML and SQL choose, Dagster wires, pure functions compute."""
