"""Value: what the customers of a day will spend, with intervals, and how such forecasts did."""
