"""Engines for vectors of pictures and words: each file is one, named as `engine:` of a configuration names it."""
