"""Vectors of words and pictures, on a tiny open_clip ViT."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.embedding.engines.clip import OpenClipEngine
from models.errors import CheckpointError
from tests.models.conftest import Shelf, entry_of, loaded, with_options

TEXTS = ["a red circle", "세 개의 파란 별", "赤い円", "", "a red circle"]
PICTURES = [Image.new("RGB", size, colour) for size, colour in (((50, 40), "red"), ((20, 90), "blue"))]


def test_vectors_have_unit_length(clip: OpenClipEngine) -> None:
    for vectors, count in ((clip.embed_texts(TEXTS), 5), (clip.embed_images(PICTURES), 2)):
        assert vectors.dtype == np.float32
        assert vectors.shape == (count, clip.dimension)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_vectors_come_in_the_order_of_the_inputs(clip: OpenClipEngine) -> None:
    vectors = clip.embed_texts(TEXTS)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)
    assert len(np.unique(vectors.round(3), axis=0)) == 4
    np.testing.assert_allclose(clip.embed_images(PICTURES[::-1]), clip.embed_images(PICTURES)[::-1], atol=1e-6)


def test_batches_change_nothing(clip: OpenClipEngine, shelf: Shelf) -> None:
    pairs = loaded(with_options(shelf("open_clip"), max_batch=2))
    np.testing.assert_allclose(pairs.embed_texts(TEXTS), clip.embed_texts(TEXTS), atol=1e-6)
    np.testing.assert_allclose(pairs.embed_images(PICTURES), clip.embed_images(PICTURES), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 300), (1, 1_000_000)])
def test_very_small_pictures_have_vectors(clip: OpenClipEngine, size: tuple[int, int]) -> None:
    assert np.isfinite(clip.embed_images([Image.new("RGB", size)])).all()


def test_nothing_in_is_nothing_out(clip: OpenClipEngine) -> None:
    assert clip.embed_texts([]).shape == clip.embed_images([]).shape == (0, clip.dimension)


def test_text_beyond_the_context_is_cut(clip: OpenClipEngine) -> None:
    long = clip.embed_texts(["star " * 100, "star " * 200])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)


def test_a_folder_can_be_written_as_open_clip_does(shelf: Shelf, clip: OpenClipEngine) -> None:
    entry = shelf("open_clip")
    other = loaded(entry.model_copy(update={"checkpoint": f"local-dir:{entry.checkpoint}"}))
    np.testing.assert_array_equal(other.embed_texts(TEXTS), clip.embed_texts(TEXTS))


def test_an_architecture_needs_the_name_of_its_weights() -> None:
    with pytest.raises(CheckpointError, match=r"options\.pretrained"):
        loaded(entry_of("clip", "ViT-B-32"))


def test_a_folder_of_another_format_is_refused(shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=r"has no open_clip_config\.json"):
        loaded(shelf("open_clip").model_copy(update={"checkpoint": shelf("blip").checkpoint}))
