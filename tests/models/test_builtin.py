"""What the built-in checkpoints must be able to do, through the engines and the entries of the default file.

Scenes are drawn, and pictures measured, by the code that the models were trained with; the scenes here are new ones.
A share is asked for, not every single answer: the models are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from models.entry import ModelEntry
from models.image.wishes import FIELDS
from models.pictures import encode
from models.tasks import ChatJob, ImageJob, ImagePart, Message, TextPart
from tests.models.conftest import loaded
from training.art.subjects import subjects
from training.captions import canonical_caption
from training.oracle import look
from training.picture.wishes import classes
from training.world import COLOURS, SHAPES, Scene, random_scene, recoloured, render

ROOT = Path(__file__).parents[2]
LANGUAGES = pytest.mark.parametrize("language", ["en", "ko", pytest.param("ja", marks=pytest.mark.nightly)])


def builtin(alias: str) -> Any:
    """The engine of an alias of the default configuration, loaded."""
    configured = yaml.safe_load((ROOT / "serve_config.yaml").read_text("utf-8"))
    entry = configured["applications"][0]["args"]["models"][alias]
    return loaded(ModelEntry.model_validate({**entry, "threads": 1}))


def scenes(count: int, things: int = 1, seed: int = 2_000_000) -> list[Scene]:
    """Scenes of so many things each, outside the seeds of training."""
    shares = tuple(float(n == things) for n in range(things + 1))
    return [random_scene(np.random.default_rng(seed + i), things=shares) for i in range(count)]


def share(outcomes: Sequence[bool]) -> float:
    return float(np.mean(outcomes))


@pytest.mark.parametrize("name", ["image", "vlm", "blip", "clip", "describer"])
def test_a_builtin_is_small_and_says_what_it_is(name: str) -> None:
    folder = ROOT / "models" / "builtin" / name
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 15_000_000
    assert "#" in (folder / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def clip() -> Any:
    return builtin("clip")


@LANGUAGES
def test_clip_ranks_the_matching_caption_above_wrong_ones(clip: Any, language: Any) -> None:
    rng = np.random.default_rng(7)
    right: list[bool] = []
    for scene in scenes(40):
        (thing,) = scene.things
        colour = str(rng.choice([c for c in COLOURS if c not in (thing.colour, scene.background)]))
        shape = str(rng.choice([s for s in SHAPES if s != thing.shape]))
        wrong: list[Any] = [recoloured(thing, colour, rng), replace(thing, shape=shape)]  # type: ignore[arg-type]
        texts = [canonical_caption(replace(scene, things=(t,)), language) for t in (thing, *wrong)]
        scores = clip.embed_texts(texts) @ clip.embed_images([render(scene)])[0]
        right += [scores[0] > scores[1], scores[0] > scores[2]]
    assert share(right) >= 0.9


@LANGUAGES
def test_clip_finds_a_picture_among_many(clip: Any, language: Any) -> None:
    drawn = scenes(40)
    texts = clip.embed_texts([canonical_caption(scene, language) for scene in drawn])
    pictures = clip.embed_images([render(scene) for scene in drawn])
    best = np.argsort(-(texts @ pictures.T), axis=1)[:, :5]
    assert share([i in row for i, row in enumerate(best)]) >= 0.9


@pytest.fixture(scope="module")
def image() -> Any:
    return builtin("image-gen")


def picture_of(image: Any, scene: Scene, language: Any = "en", **changes: Any) -> Image.Image:
    defaults = image.entry.image
    job = ImageJob(
        canonical_caption(scene, language), defaults.width, defaults.height, defaults.steps, defaults.guidance, seed=1
    )
    (made,) = image.generate(replace(job, **changes), lambda _step: None)
    assert isinstance(made, Image.Image)
    return made


@LANGUAGES
def test_pictures_show_what_was_asked_for(image: Any, language: Any) -> None:
    right: list[bool] = []
    for scene in scenes(10):
        seen = look(picture_of(image, scene, language))
        colours = {thing.colour for thing in seen.things}
        right += [seen.background == scene.background, scene.things[0].colour in colours]
    assert share(right) >= 0.8


@LANGUAGES
def test_a_thing_is_understood_by_its_name_alone(image: Any, language: Any) -> None:
    encoder, tokenizer = image._pipeline.text_encoder_2, image._pipeline.tokenizer_2
    names = {name: classes()[each.name] for each in subjects().values() for name in each.names[language]}
    ids = tokenizer(list(names), padding="max_length", max_length=40, return_tensors="pt").input_ids
    wishes = encoder.wishes(ids)
    assert (wishes[:, FIELDS.index("place 0")] > 0).float().mean() > 0.97, "and it stands somewhere"
    read = wishes[:, FIELDS.index("what 0")]
    assert share([found == wanted for found, wanted in zip(read.tolist(), names.values(), strict=True)]) >= 0.97


def test_pictures_have_their_size_and_their_seed(image: Any) -> None:
    (scene,) = scenes(1)
    first = picture_of(image, scene, seed=5)
    assert (first.mode, first.size) == ("RGB", (image.entry.image.width, image.entry.image.height))
    assert picture_of(image, scene, seed=5).tobytes() == first.tobytes()
    assert picture_of(image, scene, seed=6).tobytes() != first.tobytes()


def test_pictures_of_one_prompt_come_out_the_same_alone_and_together_and_have_their_things_elsewhere(
    image: Any,
) -> None:
    defaults = image.entry.image
    job = ImageJob("a cat in space", defaults.width, defaults.height, 3, defaults.guidance, seed=3)
    together = image.generate(replace(job, n=3), lambda _step: None)
    alone = [image.generate(replace(job, seed=3 + number), lambda _step: None)[0] for number in range(3)]
    assert [each.tobytes() for each in together] == [each.tobytes() for each in alone]
    at = [np.argwhere(np.asarray(each)[..., 0] > 230).mean(0) for each in together]  # the cat is the yellow one
    assert np.ptp(np.array(at), axis=0).max() > 1


def test_what_a_change_is_not_about_stays_as_it_was_to_the_pixel(image: Any) -> None:
    before = image.generate(
        ImageJob("an apple and a banana on a yellow background", 128, 128, 8, 2.0, seed=1), lambda _step: None
    )[0]
    job = ImageJob("remove the banana", 128, 128, 8, 2.0, seed=2, images=(encode(before),))
    after = image.generate(job, lambda _step: None)[0]
    was, now = (np.asarray(each, int) for each in (before, after))
    same = (np.abs(now - was).max(2) <= 1).mean(0)
    assert same[:50].mean() > 0.9, "where the apple is"
    assert same[75:].mean() < 0.9, "where the banana was"


@pytest.fixture(scope="module")
def vlm() -> Any:
    return builtin("vlm-fast")


def said(vlm: Any, question: str, *pictures: Image.Image) -> str:
    parts: tuple[TextPart | ImagePart, ...] = (*(ImagePart(encode(p)) for p in pictures), TextPart(question))
    job = ChatJob((Message("user", parts),), max_tokens=40)
    return "".join(delta.text for delta in vlm.stream(job, lambda: False))


def test_questions_about_colour_and_shape_are_answered(vlm: Any) -> None:
    right: list[bool] = []
    for scene in scenes(20):
        (thing,) = scene.things
        right.append(thing.colour in said(vlm, "What colour is the shape?", render(scene)).lower())
        right.append(thing.shape in said(vlm, "Which shape is it?", render(scene)).lower())
    assert share(right) >= 0.8


def test_things_are_counted(vlm: Any) -> None:
    words = {1: ("1", "one"), 2: ("2", "two"), 3: ("3", "three")}
    right = [
        any(word in said(vlm, "How many shapes are there?", render(scene)).lower() for word in words[count])
        for count in words
        for scene in scenes(5, count)
    ]
    assert share(right) >= 0.8


@pytest.mark.parametrize(
    ("question", "script"), [("이 이미지에 뭐가 있어?", ("가", "힣")), ("何がありますか?", ("ぁ", "ヿ"))]
)
def test_answers_come_in_the_language_of_the_question(vlm: Any, question: str, script: tuple[str, str]) -> None:
    for scene in scenes(3):
        assert any(script[0] <= letter <= script[1] for letter in said(vlm, question, render(scene)))


@pytest.fixture(scope="module")
def blip() -> Any:
    return builtin("blip")


def test_captions_name_colour_and_shape(blip: Any) -> None:
    drawn = scenes(20)
    captions = blip.caption([render(scene) for scene in drawn])
    right = [word in caption for scene, caption in zip(drawn, captions, strict=True)
             for word in (scene.things[0].colour, scene.things[0].shape)]  # fmt: skip
    assert share(right) >= 0.8


def test_captions_continue_a_prefix(blip: Any) -> None:
    drawn = scenes(8)
    captions = blip.caption([render(scene) for scene in drawn], "a picture of")
    assert all(caption.startswith("a picture of ") for caption in captions)
    right = [scene.things[0].colour in caption for scene, caption in zip(drawn, captions, strict=True)]
    assert share(right) >= 0.7
