"""Simulated businesses whose truth is known: a latent world, its files with their faults, its
bars.
"""

from churn_orchestration.simulator.produce import (
    expected_spend,
    forecasts,
    furnished,
    simulate,
    write_bars,
)
from churn_orchestration.simulator.world import Faults, ScenarioError, World

__all__ = [
    "Faults",
    "ScenarioError",
    "World",
    "expected_spend",
    "forecasts",
    "furnished",
    "simulate",
    "write_bars",
]
