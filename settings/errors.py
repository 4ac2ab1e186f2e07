"""What a wrong configuration raises."""

from __future__ import annotations


class ConfigurationError(ValueError):
    """The configuration has a mistake; `str(error)` is one line for the person who wrote it."""
