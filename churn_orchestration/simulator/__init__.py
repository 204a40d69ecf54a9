"""A simulated shop whose best possible churn forecast is known in closed form."""

from churn_orchestration.simulator.company import Company, Simulation, simulate
from churn_orchestration.simulator.faults import Faults
from churn_orchestration.simulator.landing import land
from churn_orchestration.simulator.truth import (
    best_forecast,
    forecast_table,
    latent_oracle,
    oracle_table,
)

__all__ = [
    "Company",
    "Faults",
    "Simulation",
    "best_forecast",
    "forecast_table",
    "land",
    "latent_oracle",
    "oracle_table",
    "simulate",
]
