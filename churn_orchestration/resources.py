"""The resources of a business, bound once."""

from churn_orchestration.business import Business
from churn_orchestration.tracking import Tracking
from churn_orchestration.warehouse import Warehouse


def resources(business: Business) -> dict[str, object]:
    """The warehouse and the MLflow store in the business's state folder."""
    settings = business.settings
    return {
        "warehouse": Warehouse.of(business.state, settings.memory_limit, settings.threads),
        "tracking": Tracking(state=str(business.state)),
    }
