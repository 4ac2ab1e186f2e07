"""Image models: engines and what they share."""
