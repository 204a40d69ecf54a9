"""How a YAML block becomes assets and their checks."""

from churn_orchestration.components.churn_model import ChurnModel
from churn_orchestration.components.feature_table import FeatureTable
from churn_orchestration.components.source_table import SourceTable
from churn_orchestration.components.sql_tables import SqlTables

__all__ = ["ChurnModel", "FeatureTable", "SourceTable", "SqlTables"]
