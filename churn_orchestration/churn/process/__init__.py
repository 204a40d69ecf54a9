"""Models of a purchase process: how often customers buy, and when they stop, from dates alone."""
