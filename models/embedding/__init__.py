"""Vectors of pictures and words: the engine's base and the engines."""
