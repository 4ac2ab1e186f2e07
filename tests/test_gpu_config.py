"""The configuration for a GPU: it validates, and the installed diffusers has every class it will load."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings
from models.image.engines.diffusion import DiffusionOptions
from models.image.pipeline_tasks import main_class, pipeline_classes

CONFIG = Path(__file__).parent.parent / "serve_config.gpu.yaml"

# What the released checkpoints' model_index.json names; nothing is fetched here.
CLASSES = {
    "klein": ("Flux2KleinPipeline", {"text2img", "edit", "img2img", "inpaint"}),
    "z-image": ("ZImagePipeline", {"text2img", "img2img", "inpaint"}),
    "schnell": ("FluxPipeline", {"text2img", "img2img", "inpaint"}),
    "dev": ("FluxPipeline", {"text2img", "img2img", "inpaint"}),
    "kontext": ("FluxKontextPipeline", {"text2img", "edit", "img2img", "inpaint"}),
}


@pytest.fixture(scope="module")
def loaded() -> settings.Settings:
    return settings.load(CONFIG, {})


def test_every_picture_model_can_be_made_by_the_installed_diffusers(loaded: settings.Settings) -> None:
    import diffusers

    pictures = {alias: entry for alias, entry in loaded.models.items() if entry.kind == "image"}
    assert pictures.keys() == CLASSES.keys()
    for alias, entry in pictures.items():
        name, ways = CLASSES[alias]
        options = DiffusionOptions.model_validate(entry.options)
        assert set(pipeline_classes(main_class({"_class_name": name}), options.pipelines)) == ways
        assert options.redux is None or diffusers.FluxPriorReduxPipeline
        assert options.loading.quantization == "nf4"
    assert diffusers.PipelineQuantizationConfig


def test_every_picture_model_has_a_share_of_the_gpu_and_room_for_one_picture_of_its_size(
    loaded: settings.Settings,
) -> None:
    for entry in loaded.models.values():
        if entry.kind == "image":
            assert 0 < entry.gpus <= 1
            assert entry.image.width * entry.image.height <= entry.image.max_pixels
        elif entry.kind not in ("clip", "voice"):
            assert entry.gpus == 0


def test_search_understands_many_languages_and_leaves_the_largest_picture_model_its_share(
    loaded: settings.Settings,
) -> None:
    import open_clip

    clip = loaded.models[loaded.search.embedder]
    name = clip.checkpoint.removeprefix("timm/")
    assert open_clip.get_model_config(name)["text_cfg"]["vocab_size"] == 256_000, "the multilingual vocabulary"
    assert clip.gpus + max(entry.gpus for entry in loaded.models.values()) <= 1


def test_it_serves_the_names_that_the_default_configuration_serves(loaded: settings.Settings) -> None:
    default = settings.load(CONFIG.with_name("serve_config.yaml"), {})
    missing = default.models.keys() - loaded.models.keys() - loaded.routes.keys()
    assert not missing
    assert loaded.default_models.keys() == default.default_models.keys()
