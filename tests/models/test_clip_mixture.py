"""Two CLIPs side by side: what is found by words among photographs, drawings and shapes alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deployments.search.embedders import embedder_of
from models.checkpoints import local_folder
from models.embedding.engines.clip import OpenClipEngine
from models.embedding.engines.clip_mixture import ClipMixtureEngine, dealt_out
from models.entry import ModelEntry
from models.errors import CheckpointError
from tests.models.test_builtin import scenes
from training.captions import Language, canonical_caption
from training.world import render

SHAPES = ["a red circle on a blue background", "빨간 원", "赤い円"]
THINGS = ["a dog", "고양이", "自転車", "ein Apfel", "une voiture", "un perro", "汽车", "a photo of a golden retriever"]
OF_SHAPES = dealt_out(512, 256) >= 512
PICTURES = [Image.new("RGB", size, colour) for size, colour in (((50, 40), "red"), ((20, 90), "blue"))]


def engine_of(checkpoint: str, **options: object) -> ClipMixtureEngine:
    fields = {"engine": "clip_mixture", "checkpoint": checkpoint, "threads": 1, "options": options}
    return ClipMixtureEngine(ModelEntry.model_validate(fields))


@pytest.fixture(scope="module")
def mixture() -> Iterator[ClipMixtureEngine]:
    made = engine_of("builtin:finder")
    made.load()
    yield made
    made.unload()


def parts(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of each vector is the one's and the other's."""
    return np.linalg.norm(vectors[:, ~OF_SHAPES], axis=1), np.linalg.norm(vectors[:, OF_SHAPES], axis=1)


def test_vectors_have_unit_length_and_both_parts_of_a_picture_count_alike(mixture: ClipMixtureEngine) -> None:
    for vectors, count in ((mixture.embed_texts([*SHAPES, ""]), 4), (mixture.embed_images(PICTURES), 2)):
        assert vectors.dtype == np.float32
        assert vectors.shape == (count, mixture.dimension) == (count, 768)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    of_things, of_shapes = parts(mixture.embed_images(PICTURES))
    np.testing.assert_allclose(of_things, of_shapes, atol=1e-3)


@pytest.mark.parametrize("length", [1, 3, 64, 256, 767])
def test_a_shortened_vector_has_some_of_both(mixture: ClipMixtureEngine, length: int) -> None:
    assert abs(OF_SHAPES[:length].sum() - length / 3) <= 1
    assert length == 1 or mixture.embed_texts(["a star", "a dog"])[:, :length].any(axis=1).all()


@pytest.mark.parametrize("text", SHAPES)
def test_a_text_about_shapes_is_the_other_clips(mixture: ClipMixtureEngine, text: str) -> None:
    clip = OpenClipEngine(ModelEntry(engine="clip", checkpoint="builtin:clip", threads=1))
    clip.load()
    (vector,) = mixture.embed_texts([text])
    np.testing.assert_allclose(vector[OF_SHAPES], clip.embed_texts([text])[0], atol=1e-4)
    assert not vector[~OF_SHAPES].any()


@pytest.mark.parametrize("text", THINGS)
def test_a_text_about_things_in_any_of_seven_languages_is_its_own(mixture: ClipMixtureEngine, text: str) -> None:
    of_things, of_shapes = parts(mixture.embed_texts([text]))
    assert (of_things[0], of_shapes[0]) == (pytest.approx(1, abs=1e-3), 0)


@pytest.mark.parametrize(
    "language", ["en", pytest.param("ko", marks=pytest.mark.nightly), pytest.param("ja", marks=pytest.mark.nightly)]
)
def test_shapes_are_found_as_before(mixture: ClipMixtureEngine, language: Language) -> None:
    chosen = list({scene.description(): scene for scene in scenes(60)}.values())
    seen = mixture.embed_images([Image.fromarray(np.asarray(render(scene))) for scene in chosen])
    said = mixture.embed_texts([canonical_caption(scene, language) for scene in chosen])
    assert np.mean((said @ seen.T).argmax(1) == np.arange(len(chosen))) > 0.9


def test_the_same_word_is_near_itself_in_every_language(mixture: ClipMixtureEngine) -> None:
    dogs = mixture.embed_texts(["a dog", "강아지", "犬", "Hund", "chien", "perro", "狗"])
    cars = mixture.embed_texts(["a car", "자동차", "車", "Auto", "voiture", "coche", "汽车"])
    assert (dogs @ dogs.T).min() > (dogs @ cars.T).max() + 0.2


def test_vectors_have_unit_length_in_bfloat16_too() -> None:
    fields = {"engine": "clip_mixture", "checkpoint": "builtin:finder", "threads": 1, "dtype": "bfloat16"}
    engine = ClipMixtureEngine(ModelEntry.model_validate(fields))
    engine.load()
    for vectors in (engine.embed_texts([*SHAPES, *THINGS]), engine.embed_images(PICTURES)):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_tokens_are_counted_as_they_are_read(mixture: ClipMixtureEngine) -> None:
    assert mixture.count_tokens("a   dog\n\n  and a   cat") == mixture.count_tokens("a dog and a cat")


def test_what_is_no_mixture_is_refused_before_the_start_with_what_to_write() -> None:
    ClipMixtureEngine.check(engine_of("builtin:finder").entry)
    for checkpoint in ("builtin:clip", "timm/ViT-B-16-SigLIP2-256"):
        with pytest.raises(CheckpointError, match=r"write `engine: clip`"):
            ClipMixtureEngine.check(engine_of(checkpoint).entry)
    with pytest.raises(CheckpointError, match=r"options\.shapes: 'builtin:voice' has no open_clip_config\.json"):
        ClipMixtureEngine.check(engine_of("builtin:finder", shapes="builtin:voice").entry)


def test_its_name_changes_with_either_of_its_parts(tmp_path: Path) -> None:
    shutil.copytree(local_folder("builtin:clip") or tmp_path, tmp_path / "clip")
    (tmp_path / "clip" / "open_clip_model.safetensors").write_bytes(b"other weights")
    names = {
        embedder_of(engine_of("builtin:finder", **more).entry).name for more in ({}, {"shapes": str(tmp_path / "clip")})
    }
    assert len(names) == 2
