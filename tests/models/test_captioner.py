"""Captions, on a tiny BLIP and a tiny BLIP-2."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from models.caption.blip import _with_prefix
from models.caption.engines.captioner import BlipEngine
from models.errors import Cancelled, CheckpointError
from tests.models.conftest import Shelf, loaded, with_options

PICTURES = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue", "white")]


def test_each_picture_has_its_own_caption_in_order(captioner: BlipEngine) -> None:
    captions = captioner.caption(PICTURES)
    assert len(set(captions)) == 3
    assert captioner.caption(PICTURES[::-1]) == captions[::-1]


def test_pictures_together_are_captioned_as_alone(captioner: BlipEngine) -> None:
    assert captioner.caption(PICTURES) == [captioner.caption([picture])[0] for picture in PICTURES]


def test_a_caption_begins_with_its_prefix_word_for_word(captioner: BlipEngine) -> None:
    captions = captioner.caption(PICTURES, "A  photo of ")
    assert all(caption.startswith("A photo of") for caption in captions)
    assert any(len(caption) > len("A photo of") for caption in captions)
    assert not any("a photo of" in caption for caption in captions)


def test_captions_are_clean_lines(captioner: BlipEngine) -> None:
    for caption in captioner.caption(PICTURES) + captioner.caption(PICTURES, "a photo of"):
        assert caption == " ".join(caption.split())
        assert "[" not in caption
        assert "<" not in caption


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 300)])
def test_very_small_pictures_are_captioned(captioner: BlipEngine, size: tuple[int, int]) -> None:
    assert len(captioner.caption([Image.new("RGB", size)])) == 1


def test_no_pictures_are_no_captions(captioner: BlipEngine) -> None:
    assert captioner.caption([]) == []


@pytest.mark.parametrize("name", ["blip", "blip2"])
def test_pictures_go_through_in_batches(name: str, shelf: Shelf) -> None:
    whole, pairs = loaded(shelf(name)), loaded(with_options(shelf(name), max_batch=2))
    assert pairs.caption(PICTURES, "a photo of") == whole.caption(PICTURES, "a photo of")


@pytest.mark.parametrize("name", ["blip", "blip2"])
def test_the_longest_caption_and_the_beams_are_options(name: str, shelf: Shelf) -> None:
    whole = loaded(shelf(name)).caption(PICTURES)
    assert sum(map(len, loaded(with_options(shelf(name), max_new_tokens=3)).caption(PICTURES))) < sum(map(len, whole))
    assert len(loaded(with_options(shelf(name), num_beams=2)).caption(PICTURES)) == 3


@pytest.mark.parametrize(
    ("prefix", "read", "written", "caption"),
    [
        ("", "", "a red circle", "a red circle"),
        ("A photo of", "a photo of", "a photo of a circle", "A photo of a circle"),
        ("A photo of", "A photo of", "a circle", "A photo of a circle"),
        ("Is it red?", "is it red ?", "is it red ? yes", "Is it red? yes"),
        ("a photo of", "a photo of", "", "a photo of"),
    ],
)
def test_the_prefix_is_neither_lost_nor_doubled(prefix: str, read: str, written: str, caption: str) -> None:
    assert _with_prefix(prefix, read, written) == caption


def test_a_model_that_is_no_captioner_is_refused(shelf: Shelf) -> None:
    text_model = str(Path(shelf("z_image").checkpoint) / "text_encoder")
    with pytest.raises(CheckpointError, match="is a qwen3 model, not blip or blip-2"):
        loaded(shelf("blip").model_copy(update={"checkpoint": text_model}))


def test_a_caller_who_leaves_stops_the_model_within_a_token(captioner: BlipEngine) -> None:
    asked = []

    def left() -> bool:
        asked.append(True)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        captioner.caption(PICTURES, is_cancelled=left)
    assert len(asked) == 4  # twice no, then yes, and once more on the way out
    assert captioner.caption(PICTURES)
