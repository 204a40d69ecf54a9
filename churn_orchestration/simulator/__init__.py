"""Simulated businesses whose truth is known: a latent world, its files with their faults, its bars."""

from churn_orchestration.simulator.produce import forecasts, furnished, simulate, write_bars
from churn_orchestration.simulator.world import Faults, ScenarioError, World

__all__ = ["Faults", "ScenarioError", "World", "forecasts", "furnished", "simulate", "write_bars"]
