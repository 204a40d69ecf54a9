"""What churn is: pure functions on tables and SQL text. No Dagster, no files, no clock."""
