"""Churn prediction as a lineage graph: YAML and SQL choose, Dagster wires, pure functions
compute.
"""

import os

# No library that comes along may call home; each reads its own variable when it is first imported.
for _variable, _value in (
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("GX_ANALYTICS_ENABLED", "false"),
    ("DO_NOT_TRACK", "true"),  # Evidently
):
    os.environ.setdefault(_variable, _value)
