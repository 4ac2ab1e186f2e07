"""Callers of one embedder share its forwards, and nothing else. On the built-in model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer
from PIL import Image

from deployments.embedding import Embedding, EmbeddingResult
from models.embedding.engines.clip import OpenClipEngine
from models.embedding.windows import windows
from models.entry import ModelEntry
from models.errors import Cancelled, InvalidImage, InvalidInput
from tests.api.pictures import TRUNCATED, many_scenes, png
from tests.checkpoints.words import bert_tokenizer, t5_tokenizer

PICTURES = [png(scene) for scene in many_scenes(8)]
TEXTS = [f"{count} {colour} stars" for count in ("two", "three", "four", "five") for colour in ("red", "blue")]


@pytest.fixture(scope="module")
def clip() -> Iterator[Embedding]:
    entry = ModelEntry(engine="clip", checkpoint="builtin:clip", threads=1, options={"max_batch": 8})
    clip = Embedding("clip", entry)
    yield clip
    clip.engine.unload()


@pytest.fixture(scope="module")
def texts(clip: Embedding) -> np.ndarray:
    """Each text's vector, made by itself."""
    return np.concatenate([clip.engine.embed_texts([text]) for text in TEXTS])


@pytest.fixture
def forwards(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """A log line for each time that the engine worked."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "worked" in record.getMessage():
                lines.append(record.getMessage())

    handler = Lines()
    log = logging.getLogger("ray.serve")
    log.addHandler(handler)
    caplog.set_level(logging.INFO, "ray.serve")
    yield lines
    log.removeHandler(handler)


def same(some: object, others: np.ndarray) -> None:
    assert isinstance(some, np.ndarray)
    np.testing.assert_allclose(some, others, atol=1e-5)


async def test_eight_callers_at_once_share_two_forwards_and_get_what_they_would_alone(
    clip: Embedding, texts: np.ndarray, forwards: list[str]
) -> None:
    vectors = await asyncio.gather(*(clip.embed_texts([text]) for text in TEXTS))
    same(np.concatenate(vectors), texts)
    assert len(forwards) == 2  # the first at once, then all that came meanwhile


async def test_what_one_caller_asks_for_stays_together(clip: Embedding, texts: np.ndarray, forwards: list[str]) -> None:
    spans = [slice(0, 1), slice(0, 5), slice(2, 6), slice(5, 8)]
    vectors = await asyncio.gather(*(clip.embed_texts(TEXTS[span]) for span in spans))
    for own, span in zip(vectors, spans, strict=True):
        same(own, texts[span])
    assert len(forwards) == 3  # 1, then 5 + 3, then 4


async def test_more_than_fit_at_once_go_alone(clip: Embedding, texts: np.ndarray, forwards: list[str]) -> None:
    few, many, more = await asyncio.gather(
        clip.embed_texts(TEXTS[:1]), clip.embed_texts(TEXTS * 3), clip.embed_texts(TEXTS[1:2])
    )
    same(many, np.tile(texts, (3, 1)))
    same(np.concatenate([few, more]), texts[:2])
    assert len(forwards) == 3


async def test_texts_and_pictures_go_apart(clip: Embedding, texts: np.ndarray, forwards: list[str]) -> None:
    vectors = await asyncio.gather(
        *(clip.embed_texts([text]) for text in TEXTS[:4]), *(clip.embed_images(picture) for picture in PICTURES[:4])
    )
    same(np.concatenate(vectors[:4]), texts[:4])
    same(np.concatenate(vectors[4:]), await clip.embed_images(*PICTURES[:4]))
    assert len(forwards) == 5  # a first and a second of each, and the one just now


async def test_a_picture_that_cannot_be_read_fails_its_caller_only(clip: Embedding) -> None:
    asked = [PICTURES[:1], PICTURES[1:2], [PICTURES[2], TRUNCATED], PICTURES[3:4]]
    vectors = await asyncio.gather(*(clip.embed_images(*images) for images in asked), return_exceptions=True)
    assert isinstance(vectors[2], InvalidImage)
    alone = await clip.embed_images(*(PICTURES[i] for i in (0, 1, 3)))
    for vector, own in zip([vectors[i] for i in (0, 1, 3)], alone, strict=True):
        same(vector, own[None])


async def test_who_leaves_spoils_nothing_for_the_others(clip: Embedding, texts: np.ndarray) -> None:
    calls = [asyncio.create_task(clip.embed_texts([text])) for text in TEXTS]
    await asyncio.sleep(0)  # the first works, the others wait
    for i in (0, 3):
        calls[i].cancel()
    vectors = await asyncio.gather(*calls, return_exceptions=True)
    for i, vector in enumerate(vectors):
        if i in (0, 3):
            assert isinstance(vector, asyncio.CancelledError)
        else:
            same(vector, texts[i : i + 1])


def test_work_for_one_who_left_stops_after_a_batch(clip: Embedding) -> None:
    asked: list[int] = []
    taken: list[int] = []

    def picture(number: int) -> Image.Image:
        taken.append(number)
        return Image.new("RGB", (64, 64))

    def left_after_a_batch() -> bool:
        asked.append(len(taken))
        return bool(taken)

    with pytest.raises(Cancelled):
        clip.engine.embed_images(map(picture, range(20)), left_after_a_batch)
    assert asked == [0, 8]
    with pytest.raises(Cancelled):
        clip.engine.embed_texts(TEXTS, lambda: True)


async def test_texts_and_pictures_are_embedded_in_the_order_of_their_names(clip: Embedding, texts: np.ndarray) -> None:
    embedded = await clip.embed({"a": TEXTS[0], "b": PICTURES[0], "c": TEXTS[1], "d": PICTURES[1]}, dimension=256)
    same(embedded.vectors[[0, 2]], texts[:2])
    same(embedded.vectors[[1, 3]], await clip.embed_images(*PICTURES[:2]))
    assert embedded.tokens == sum(map(clip.engine.count_tokens, TEXTS[:2]))


async def test_a_long_text_is_the_mean_of_its_windows_and_those_beside_it_are_as_alone(
    clip: Embedding, texts: np.ndarray
) -> None:
    long = "star " * 100
    one, both = await asyncio.gather(clip.embed({"input": TEXTS[0]}), clip.embed({"short": TEXTS[1], "long": long}))
    same(one.vectors, texts[:1])
    same(both.vectors[:1], texts[1:2])
    assert (one.in_windows, both.in_windows) == (False, True)
    assert both.tokens == clip.engine.count_tokens(TEXTS[1]) + clip.engine.count_tokens(long)
    parts = windows(long, clip.engine.count_tokens, clip.engine.context_length)
    assert len(parts) == 2
    mean = np.average(
        clip.engine.embed_texts(parts), axis=0, weights=[clip.engine.count_tokens(each) for each in parts]
    )
    same(both.vectors[1], mean / np.linalg.norm(mean))
    assert (await clip.embed_texts([long])).shape == (1, 256)  # image search takes what the model reads at once


async def test_what_is_too_long_is_refused_by_its_name_and_fails_its_caller_only(
    clip: Embedding, texts: np.ndarray
) -> None:
    answers = await asyncio.gather(
        clip.embed({"input": TEXTS[0]}),
        clip.embed({"short": "a", "long": "star " * 8190}),
        clip.embed({f"input[{i}]": "star " * 8000 for i in range(38)}),
        return_exceptions=True,
    )
    assert isinstance(answers[0], EmbeddingResult)
    same(answers[0].vectors, texts[:1])
    for refusal, param, said in (
        (answers[1], "long", "long: the text has 8192 tokens; at most 8191 are embedded"),
        (answers[2], "input", "input: more than 300000 tokens in all; send the texts in several requests"),
    ):
        assert isinstance(refusal, InvalidInput)
        assert (str(refusal), refusal.param, refusal.code) == (said, param, "context_length_exceeded")


async def test_vectors_are_shortened_to_unit_length_and_never_made_longer(clip: Embedding, texts: np.ndarray) -> None:
    short = (await clip.embed({"input": TEXTS[0]}, dimension=64)).vectors[0]
    same(short, texts[0, :64] / np.linalg.norm(texts[0, :64]))
    with pytest.raises(InvalidInput, match="allowed: 1 to 256") as caught:
        await clip.embed({"input": TEXTS[0]}, dimension=257)
    assert caught.value.param == "dimensions"


def simple(_: Path) -> tuple[Any, int]:
    tokenizer = SimpleTokenizer(context_length=64)
    return tokenizer, tokenizer.eot_token_id


def hugging_face(folder: Path) -> tuple[Any, int]:
    bert_tokenizer().save_pretrained(folder)
    tokenizer = HFTokenizer(str(folder), context_length=64)
    return tokenizer, tokenizer.tokenizer.sep_token_id


def clips(folder: Path) -> tuple[Any, int]:
    bert_tokenizer().save_pretrained(folder)
    tokenizer = HFTokenizer(str(folder), context_length=64, tokenizer_mode="clips")
    tokenizer.tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    return tokenizer, tokenizer.tokenizer.eos_token_id


def siglip(_: Path) -> tuple[Any, int]:
    tokenizer = SigLipTokenizer.__new__(SigLipTokenizer)  # reads no file of its vocabulary with transformers 5
    tokenizer.tokenizer, tokenizer.context_length = t5_tokenizer(), 64
    tokenizer.tokenizer.pad_token_id = tokenizer.tokenizer.eos_token_id
    return tokenizer, tokenizer.tokenizer.eos_token_id


@pytest.mark.parametrize("kind", [simple, hugging_face, clips, siglip])
def test_tokens_are_counted_as_every_tokenizer_makes_them(
    clip: Embedding, tmp_path: Path, kind: Callable[[Path], tuple[Any, int]]
) -> None:
    tokenizer, end = kind(tmp_path)
    engine = OpenClipEngine(clip.engine.entry)
    engine._tokenizer = tokenizer
    for text in ("a red circle!!", "  A &amp;  red,\ncircle ", "빨간색 원이", "!", " ", "a photo of " * 4):
        padded = tokenizer([text])[0].tolist()
        assert engine.count_tokens(text) == padded.index(end) + (2 if kind is clips else 1)  # a class stands last
    assert engine.count_tokens("a photo of a red circle " * 100) > 300
