"""How the built-in models are made: a synthetic world, its captions, one command per model."""
