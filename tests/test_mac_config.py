"""The configuration for a Mac: it validates, and the installed libraries have every class that it will load."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import settings
from models.image.engines.diffusion import DiffusionOptions
from models.image.engines.diffusion_mlx import MlxDiffusionEngine
from models.image.pipeline_tasks import expected_classes, main_class, pipeline_classes

CONFIG = Path(__file__).parent.parent / "serve_config.mac.yaml"

# What the released checkpoints' model_index.json and config.json name; nothing is fetched here.
PICTURES = {
    "klein": ("Flux2KleinPipeline", {"text2img", "edit", "img2img", "inpaint"}),
    "sdxl-turbo": ("StableDiffusionXLPipeline", {"text2img", "img2img", "inpaint"}),
}
CHAT = {"vlm-fast": "qwen2_5_vl", "moondream": "moondream1"}


@pytest.fixture(scope="module")
def loaded() -> settings.Settings:
    return settings.load(CONFIG, {})


def test_every_picture_model_can_be_made_by_the_installed_libraries(loaded: settings.Settings) -> None:
    pictures = {alias: entry for alias, entry in loaded.models.items() if entry.kind == "image"}
    assert pictures.keys() == PICTURES.keys()
    for alias, entry in pictures.items():
        name, ways = PICTURES[alias]
        if entry.engine == "diffusion_mlx":
            assert MlxDiffusionEngine._mismatch({"_class_name": name}) is None
            assert set(expected_classes({"_class_name": name}, {}) or ()) == ways
            assert find_spec("mlx_vlm.models.flux2")
            continue
        options = DiffusionOptions.model_validate(entry.options)
        assert set(pipeline_classes(main_class({"_class_name": name}), options.pipelines)) == ways
        assert (options.loading.quantization, options.loading.offload) == ("none", "none")  # both are for CUDA
        assert entry.device == "mps"


def test_every_chat_model_is_known_to_the_installed_mlx_vlm(loaded: settings.Settings) -> None:
    from mlx_vlm.utils import MODEL_REMAPPING

    chat = {alias: entry for alias, entry in loaded.models.items() if entry.kind == "vlm"}
    assert chat.keys() == CHAT.keys()
    for alias, entry in chat.items():
        assert entry.engine == "vlm_mlx"
        architecture = MODEL_REMAPPING.get(CHAT[alias], CHAT[alias])
        assert find_spec(f"mlx_vlm.models.{architecture}")  # not imported: it changes transformers' AutoProcessor


def test_what_a_request_needs_at_once_fits_a_mac_of_32_gb(loaded: settings.Settings) -> None:
    assert all(0 < (entry.memory or 0) < 20e9 for entry in loaded.models.values())


def test_it_serves_the_names_that_the_default_configuration_serves(loaded: settings.Settings) -> None:
    default = settings.load(CONFIG.with_name("serve_config.yaml"), {})
    missing = default.models.keys() - loaded.models.keys() - loaded.routes.keys()
    assert not missing
    assert loaded.default_models.keys() == default.default_models.keys()
