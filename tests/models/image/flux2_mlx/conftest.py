"""One FLUX.2 checkpoint in MLX and in diffusers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.entry import ModelEntry
from models.image.engines.diffusion import DiffusionEngine
from models.image.engines.diffusion_mlx import MlxDiffusionEngine
from tests import checkpoints
from tests.models.conftest import entry_of, loaded
from tests.models.image.flux2_mlx.drawing import Changed


@pytest.fixture(scope="module", autouse=True)
def _mlx_vlm() -> Iterator[pytest.MonkeyPatch]:
    """With a small autoencoder, and undone for those that follow (see the one of chat models)."""
    from transformers import AutoProcessor

    own = AutoProcessor.__dict__["from_pretrained"]
    from mlx_vlm.models.flux2 import weights
    from mlx_vlm.models.flux2.constants import ModelConfig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "FULL_DECODER_CHANNELS", (32, 32, 32, 32))
        patch.setattr(ModelConfig, "precision", ModelConfig.precision)
        yield patch
    AutoProcessor.from_pretrained = own


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("klein") / "distilled"
    checkpoints.write_flux2_klein_for_mlx(folder)
    return folder


@pytest.fixture
def changed(klein: Path, tmp_path: Path) -> Changed:
    """The checkpoint with other fields in a JSON file of its folder, or without a file."""

    def entry(name: str = "model_index.json", *, without: str = "", **fields: object) -> ModelEntry:
        folder = tmp_path / "changed"
        shutil.copytree(klein, folder, copy_function=os.link)
        path = folder / name
        config = json.dumps({**json.loads(path.read_text()), **fields})
        path.unlink()  # it is the other folder's too
        path.write_text(config)
        if without:
            (folder / without).unlink()
        return entry_of("diffusion_mlx", folder)

    return entry


@pytest.fixture(scope="module")
def mlx(klein: Path) -> MlxDiffusionEngine:
    engine: MlxDiffusionEngine = loaded(entry_of("diffusion_mlx", klein))
    return engine


@pytest.fixture(scope="module")
def diffusers(klein: Path) -> DiffusionEngine:
    engine: DiffusionEngine = loaded(entry_of("diffusion", klein))
    return engine
