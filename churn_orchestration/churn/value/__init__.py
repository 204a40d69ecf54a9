"""What customers will spend: forecasts of money, their intervals, and how they did."""
