"""How a YAML block becomes assets and their checks."""

from churn_orchestration.components.campaign.campaign import Campaign
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.offers.offers import Offers
from churn_orchestration.components.question.churn_model import ChurnModel
from churn_orchestration.components.recommendations.recommendations import Recommendations
from churn_orchestration.components.segments.axes import Axes
from churn_orchestration.components.segments.segments import Segments
from churn_orchestration.components.source.source_table import SourceTable
from churn_orchestration.components.sql_tables import SqlTables
from churn_orchestration.components.value.value_model import ValueModel

__all__ = [
    "Axes",
    "Campaign",
    "ChurnModel",
    "FeatureTable",
    "Offers",
    "Recommendations",
    "Segments",
    "SourceTable",
    "SqlTables",
    "ValueModel",
]
