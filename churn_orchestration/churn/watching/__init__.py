"""How forecasts and data change over time."""
