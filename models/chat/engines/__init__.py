"""Engines for answers about pictures and text: each file is one, named as `engine:` of a configuration names it."""
