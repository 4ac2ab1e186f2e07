"""Answers that are written side by side, and pictures that are read once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.chat.engine import PendingChat
from models.chat.engines.vlm import TransformersVlmEngine
from models.errors import InvalidImage, InvalidInput, OutOfMemory
from models.tasks import ChatDelta, ChatJob, ImagePart
from tests.models.chat.conversations import _COUNTED, answer, assistant, chat, deltas, picture, system, user
from tests.models.conftest import Shelf, loaded, together, with_options


def test_answers_written_side_by_side_are_those_written_alone(vlm: TransformersVlmEngine) -> None:
    jobs = [
        chat(user("hello")),
        chat(user(picture("red"), "hello"), max_tokens=3),
        chat(system("be short"), user(picture("blue"), "a", picture("red"), "a much longer question than the others")),
        chat(user("hello"), temperature=1.0, seed=3),
        chat(user(picture("red"), "hello"), form=_COUNTED, max_tokens=200),
        chat(user("hello"), form=("yes", "no"), temperature=1.0, seed=1),
        chat(user("hello"), frequency_penalty=2.0, max_tokens=30),
        chat(user("hello"), stop=(answer(vlm, chat(user("hello")))[2:4],)),
    ]
    assert together(vlm, *jobs) == [answer(vlm, job) for job in jobs]
    told: list[list[ChatDelta]] = [[] for _ in jobs]
    vlm.answer([PendingChat(job, told[i].append, lambda: False) for i, job in enumerate(jobs)])  # type: ignore[arg-type]
    assert [pieces[-1].usage for pieces in told] == [deltas(vlm, job)[-1].usage for job in jobs]


def test_a_fault_of_one_job_is_its_own(vlm: TransformersVlmEngine) -> None:
    good = chat(user("hello"))
    damaged, endless = chat(user(ImagePart(b"no picture"))), chat(user("hello"), form={"type": "nonsense"})
    first, image, form, last = together(vlm, good, damaged, endless, good)
    assert first == last == answer(vlm, good)
    assert isinstance(image, InvalidImage)
    assert isinstance(form, InvalidInput)


def test_what_breaks_on_one_job_breaks_no_other(qwen: TransformersVlmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, begin = answer(qwen, chat(user("hello"))), qwen._inputs

    def run_out(job: ChatJob) -> Any:
        if len(job.messages) > 1:
            raise RuntimeError("CUDA out of memory")
        return begin(job)

    monkeypatch.setattr(qwen, "_inputs", run_out)
    good, failed, last = together(qwen, chat(user("hello")), chat(system("a"), user("hello")), chat(user("hello")))
    assert good == last == whole
    assert isinstance(failed, OutOfMemory)


def test_a_temperature_near_zero_is_greedy(vlm: TransformersVlmEngine) -> None:
    assert answer(vlm, chat(user("hello"), temperature=1e-300, seed=1)) == answer(vlm, chat(user("hello")))


def test_tokens_of_a_stop_text_are_not_sent(qwen: TransformersVlmEngine) -> None:
    whole = answer(qwen, chat(user("hello")))
    for stop in {whole[2:4], whole[5:9]}:
        out = deltas(qwen, chat(user("hello"), stop=(stop,), top_logprobs=0))
        told = "".join(one.token for delta in out for one in delta.logprobs)
        assert "".join(delta.text for delta in out).startswith(told)


def test_who_leaves_gets_nothing_more_and_the_others_go_on(vlm: TransformersVlmEngine) -> None:
    good = chat(user("hello"))
    _, last = together(vlm, chat(user("hello"), max_tokens=1000), good, cancelled=0)
    assert last == answer(vlm, good)


def test_what_is_too_much_at_once_is_answered_one_by_one(
    qwen: TransformersVlmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = qwen._model
    widths = []

    def generate(**inputs: Any) -> Any:
        widths.append(len(inputs["input_ids"]))
        if widths[-1] > 1:
            raise torch.OutOfMemoryError
        return type(model).generate(model, **inputs)

    monkeypatch.setattr(model, "generate", generate)
    jobs = [chat(user("hello")), chat(user(picture("red"), "hello"))]
    answers = together(qwen, *jobs)
    assert widths == [2, 1, 1]
    monkeypatch.undo()
    assert answers == [answer(qwen, job) for job in jobs]


def test_long_prompts_are_not_read_all_at_once(qwen: TransformersVlmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.chat.transformers_chat._MAX_TOKENS", 100)
    jobs = [chat(user("colour? " * words)) for words in (1, 2, 60, 1)]
    assert together(qwen, *jobs) == [answer(qwen, job) for job in jobs]


@contextmanager
def looks(engine: TransformersVlmEngine) -> Iterator[list[int]]:
    """How many pictures' patches went through the vision encoder, call by call."""
    seen: list[int] = []
    convolution = next(m for m in engine._model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d)))
    hook = convolution.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        hook.remove()


def test_a_conversation_reads_its_pictures_once(vlm: TransformersVlmEngine) -> None:
    vlm._features.forget()
    red, blue = picture("red"), picture("blue")
    first = chat(user(red, "hello"))
    second = chat(user(red, "hello"), assistant("a"), user("colour?"))
    with looks(vlm) as seen:
        answers = [answer(vlm, first), answer(vlm, second)]
        once = len(seen)
        answer(vlm, chat(user(blue, "hello")))
        assert len(seen) == 2 * once
        answer(vlm, chat(user(red, blue, "hello")))
        answer(vlm, chat(user(blue, red, "hello")))
        assert len(seen) > 2 * once
    vlm._features.forget()
    assert answer(vlm, second) == answers[1]
    assert answer(vlm, first) == answers[0]


def test_what_was_read_from_pictures_is_kept_up_to_so_many_bytes(shelf: Shelf) -> None:
    engine: TransformersVlmEngine = loaded(with_options(shelf("qwen2_5_vl"), picture_cache=1_000_000))
    engine._features.forget()
    answer(engine, chat(user(picture("red"), "hello"), max_tokens=1))
    each = engine._features.nbytes
    assert 0 < each < 1_000_000
    for most, again in ((2 * each, 0), (each, 1), (each - 1, 1), (0, 1)):
        engine = loaded(with_options(shelf("qwen2_5_vl"), picture_cache=most))
        for colour in ("red", "blue"):
            answer(engine, chat(user(picture(colour), "hello"), max_tokens=1))
        assert engine._features.nbytes <= most
        with looks(engine) as seen:
            answer(engine, chat(user(picture("red"), "hello"), max_tokens=1))
        assert len(seen) == again


def test_what_was_read_from_pictures_makes_room_when_memory_runs_out(
    qwen: TransformersVlmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = qwen._model
    whole = answer(qwen, chat(user(picture("red"), "hello")))
    assert qwen._features.nbytes

    def generate(**inputs: Any) -> Any:
        if qwen._features.nbytes:
            raise torch.OutOfMemoryError
        return type(model).generate(model, **inputs)

    monkeypatch.setattr(model, "generate", generate)
    assert answer(qwen, chat(user(picture("red"), "hello"))) == whole
