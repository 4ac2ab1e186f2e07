"""Engines of every family, which are loaded when a test first asks for them."""

from __future__ import annotations

import pytest

from models.image.engines.diffusion import DiffusionEngine
from tests.models.conftest import Shelf, loaded, with_options
from tests.models.image.edits.jobs import Engines, short


@pytest.fixture(scope="module")
def engines(shelf: Shelf) -> Engines:
    """A loaded engine of each family, by its name."""
    kept: dict[str, DiffusionEngine] = {}

    def engine(name: str) -> DiffusionEngine:
        if name not in kept:
            kept[name] = loaded(with_options(shelf(name), **short(name)))
        return kept[name]

    return engine
