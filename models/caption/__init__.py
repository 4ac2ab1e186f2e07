"""Captions of pictures: the engine's base and the engines."""
