"""What a question means: labels, their settings, and what would give the answer away."""
