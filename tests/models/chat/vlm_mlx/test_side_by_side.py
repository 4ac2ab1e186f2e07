"""Answers that are written side by side, and what breaks among them."""

from __future__ import annotations

import pytest

from models.chat.engine import PendingChat
from models.chat.engines.vlm_mlx import MlxVlmEngine
from models.chat.mlx_sampling import Choices
from models.errors import InferenceFailed, InvalidImage, InvalidInput
from models.tasks import ChatDelta, ChatJob, ImagePart
from tests.models.chat.vlm_mlx.asking import QUESTION, answer, ask, deltas, plain
from tests.models.conftest import together

LONG = ask(plain("green"), "Describe this image in detail.", max_tokens=60)


DIGIT = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}


def test_answers_written_side_by_side_are_those_written_alone(mlx: MlxVlmEngine) -> None:
    jobs = [
        LONG,
        ask(plain("red"), QUESTION),
        ask("hello", max_tokens=5),
        ask(plain("blue"), plain("red"), "a much longer question than the others are", max_tokens=9),
        ask(plain("red"), QUESTION, form=("yes", "no")),
        ask(plain("red"), "hello", temperature=1.0, seed=3, max_tokens=20),
        ask(plain("red"), "hello", frequency_penalty=2.0, max_tokens=20),
        ask(plain("red"), QUESTION, form=DIGIT),
    ]
    assert together(mlx, *jobs) == [answer(mlx, job) for job in jobs]
    job = ask(plain("red"), "hello", top_logprobs=2, max_tokens=6)
    told: list[ChatDelta | Exception] = []
    others = [PendingChat(LONG, lambda _: None, lambda: False), PendingChat(job, told.append, lambda: False)]
    mlx.answer(others)
    pieces = [piece for piece in told if isinstance(piece, ChatDelta)]
    alone = deltas(mlx, job)
    assert pieces[-1].usage == alone[-1].usage
    beside, by_itself = ([one for piece in each for one in piece.logprobs] for each in (pieces, alone))
    assert [one.token for one in beside] == [one.token for one in by_itself]
    assert [one.logprob for one in beside] == pytest.approx([one.logprob for one in by_itself], abs=1e-3)


def test_a_newcomer_does_not_wait_for_a_long_answer(mlx: MlxVlmEngine) -> None:
    order: list[str] = []

    def asked(name: str, job: ChatJob) -> PendingChat:
        return PendingChat(job, lambda piece: order.append(f"{name} {type(piece).__name__}"), lambda: False)

    waiting = [asked("short", ask(plain("red"), QUESTION))]

    def take_waiting(count: int) -> list[PendingChat]:
        assert 0 <= count <= mlx.max_batch
        come = waiting[:] if order.count("long ChatDelta") == 5 else []
        waiting[:] = [] if come else waiting
        return come

    mlx.answer([asked("long", LONG)], take_waiting)
    last_of_short = len(order) - order[::-1].index("short ChatDelta")
    assert 5 < last_of_short < len(order) / 2
    assert set(order) == {"long ChatDelta", "short ChatDelta"}


def test_a_fault_of_one_job_is_its_own(mlx: MlxVlmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no number")

    monkeypatch.setattr(Choices, "_adjusted", fail)
    good = ask(plain("red"), QUESTION)
    damaged, endless = ask(ImagePart(b"no picture")), ask("hello", form={"type": "nonsense"})
    first, picture, form, odd, last = together(mlx, good, damaged, endless, ask("a", frequency_penalty=1.0), good)
    assert first == last == answer(mlx, good)
    assert isinstance(picture, InvalidImage)
    assert isinstance(form, InvalidInput)
    assert isinstance(odd, InferenceFailed)
    assert "no number" in str(odd)


def test_who_leaves_gets_nothing_more_and_the_others_go_on(mlx: MlxVlmEngine) -> None:
    good = ask(plain("red"), QUESTION)
    left, stayed = together(mlx, LONG, good, cancelled=0)
    assert stayed == answer(mlx, good)
    assert isinstance(left, str)
    assert len(left) < len(answer(mlx, LONG)) / 2


def test_what_breaks_as_a_batch_is_answered_one_by_one(mlx: MlxVlmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("this model has no batches")

    monkeypatch.setattr("models.chat.mlx_batch.MlxBatch.step", fail)
    jobs = [ask(plain("red"), QUESTION), ask("hello", max_tokens=5)]
    assert together(mlx, *jobs) == [answer(mlx, job) for job in jobs]
