"""A replica whose device has broken ends, and one that was only asked badly does not. On the built-in embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from deployments import serve_internals
from deployments.embedding import Embedding
from models.entry import ModelEntry
from models.errors import DeviceLost, InferenceFailed, OutOfMemory

ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
BAD_SHAPE = "mat1 and mat2 shapes cannot be multiplied (1x64 and 32x64)"


@pytest.fixture(scope="module")
def clip() -> Iterator[Embedding]:
    made = Embedding("clip", ModelEntry(engine="clip", checkpoint="builtin:clip", threads=1))
    yield made
    made.engine.unload()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Each time that the process would have ended, were it a replica's own."""
    ended: list[None] = []
    monkeypatch.setattr(serve_internals, "is_in_replica", lambda: True)
    monkeypatch.setattr(serve_internals, "end_process", lambda: ended.append(None))
    return ended


@pytest.fixture
def raises(clip: Embedding) -> Iterator[Callable[[str, Callable[[Any], bool]], None]]:
    """Have torch raise this from within the model, for the tokens of which something holds."""
    hooks = []

    def raise_(text: str, when: Callable[[Any], bool]) -> None:
        def hook(_: object, inputs: tuple[Any, ...]) -> None:
            if when(inputs[0]):
                raise RuntimeError(text)

        hooks.append(clip.engine._model.token_embedding.register_forward_pre_hook(hook))  # type: ignore[attr-defined]

    yield raise_
    for each in hooks:
        each.remove()


def is_long(tokens: Any) -> bool:
    return bool((tokens > 0).sum() > 6)


LONG = ["a red circle on a blue square"]


async def test_the_process_ends_with_its_device(
    clip: Embedding, ends: list[None], raises: Callable[[str, Callable[[Any], bool]], None]
) -> None:
    raises(ASSERT, lambda _: True)
    with pytest.raises(DeviceLost, match="device-side assert"):
        await clip.embed_texts(["a"])
    assert len(ends) == 1


async def test_requests_that_fail_again_and_again_do_not_end_a_process_that_can_work(
    clip: Embedding, ends: list[None], raises: Callable[[str, Callable[[Any], bool]], None]
) -> None:
    raises(BAD_SHAPE, is_long)
    for _ in range(7):
        with pytest.raises(InferenceFailed, match="cannot be multiplied"):
            await clip.embed_texts(LONG)
    assert not ends
    assert isinstance(await clip.embed_texts(["a"]), np.ndarray)


async def test_a_process_that_fails_on_everything_ends_after_the_third_failure(
    clip: Embedding, ends: list[None], raises: Callable[[str, Callable[[Any], bool]], None]
) -> None:
    raises("MPS backend: command buffer exited with error status", lambda _: True)
    for failures in (0, 0, 1):
        with pytest.raises(InferenceFailed, match="command buffer"):
            await clip.embed_texts(["a"])
        assert len(ends) == failures


async def test_failures_with_successes_between_them_are_not_counted_together(
    clip: Embedding, ends: list[None], raises: Callable[[str, Callable[[Any], bool]], None]
) -> None:
    short: list[Any] = []

    def note_short(tokens: Any) -> bool:
        if not is_long(tokens):
            short.append(tokens)
        return is_long(tokens)

    raises(BAD_SHAPE, note_short)
    for _ in range(4):
        with pytest.raises(InferenceFailed):
            await clip.embed_texts(LONG)
        await clip.embed_texts(["a"])
    assert len(short) == 4  # the four successes, and no trial
    assert not ends


async def test_memory_that_runs_out_is_no_lost_device(
    clip: Embedding, ends: list[None], raises: Callable[[str, Callable[[Any], bool]], None]
) -> None:
    raises("CUDA error: out of memory", lambda _: True)
    for _ in range(4):
        with pytest.raises(OutOfMemory):
            await clip.embed_texts(["a"])
    assert not ends
