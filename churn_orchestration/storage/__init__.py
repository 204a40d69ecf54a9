"""What is kept: the warehouse, the days, the door, the ledger, the models."""
