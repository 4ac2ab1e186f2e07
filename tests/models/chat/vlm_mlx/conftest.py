"""The same checkpoint in MLX and in transformers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.catalog import create_engine
from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.engines.vlm_mlx import MlxVlmEngine
from tests.models.chat.vlm_mlx.asking import entry


@pytest.fixture(scope="module")
def transformers_engine() -> TransformersVlmEngine:
    engine = create_engine(entry("vlm"))
    assert isinstance(engine, TransformersVlmEngine)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def mlx(transformers_engine: TransformersVlmEngine) -> Iterator[MlxVlmEngine]:
    """Loaded after the other engine, and undone for those that follow: mlx-vlm puts its own processors into
    transformers' AutoProcessor, which a replica with one engine never notices.
    """
    from transformers import AutoProcessor

    own = AutoProcessor.__dict__["from_pretrained"]
    engine = create_engine(entry("vlm_mlx"))
    assert isinstance(engine, MlxVlmEngine)
    engine.load()
    try:
        yield engine
    finally:
        AutoProcessor.from_pretrained = own
