"""Point-in-time features: what is declared, what each means, and how they are computed."""
