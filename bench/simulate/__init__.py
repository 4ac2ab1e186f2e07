"""A day of traffic for a hundred models on eight GPUs, simulated: what the residency plan makes of it."""
