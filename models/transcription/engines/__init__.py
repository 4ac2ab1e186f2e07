"""Engines for transcripts: each file is one, named as `engine:` of a configuration names it."""
