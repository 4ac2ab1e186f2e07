"""Chat models: engines and what they share."""
