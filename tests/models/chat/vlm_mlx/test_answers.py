"""Chat about pictures on MLX: the built-in model, compared with transformers, and changed copies of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import numpy as np
import pytest

from bench.parity import agreement, questions
from models.catalog import create_engine
from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.engines.vlm_mlx import MlxVlmEngine
from models.chat.mlx_sampling import Choices
from models.chat.vocabulary import Vocabulary
from models.errors import InferenceFailed, InvalidInput
from tests.models.chat.vlm_mlx.asking import QUESTION, answer, ask, deltas, entry, message, plain, usage
from tests.models.conftest import together

pytestmark = pytest.mark.nightly


def test_the_greedy_answers_are_those_of_transformers(
    mlx: MlxVlmEngine, transformers_engine: TransformersVlmEngine
) -> None:
    asked = questions(40)
    assert len({kind for kind, _ in asked}) > 8
    assert sum(agreement(mlx, transformers_engine, job) for _, job in asked) >= 39


def test_tokens_are_counted_as_transformers_counts_them(
    mlx: MlxVlmEngine, transformers_engine: TransformersVlmEngine
) -> None:
    for messages in (
        [message("user", "hello")],
        [message("system", "be short"), message("user", plain("red"), "hello", plain("blue"))],
        [message("user", plain("red"), "hello"), message("assistant", "yes"), message("user", plain("red"), "now?")],
    ):
        assert usage(mlx, *messages) == usage(transformers_engine, *messages)


@pytest.mark.parametrize(
    "options",
    [
        {"form": ("yes", "no")},
        {"form": {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "additionalProperties": False}},
        {"presence_penalty": 2.0, "frequency_penalty": 1.0},
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.7, "logit_bias": {300: 4.0, 301: -100.0}},
        {"temperature": 1.5, "top_k": 1},
        {"temperature": 1.5, "min_p": 1.0, "repetition_penalty": 1.3},
    ],
)
def test_forms_penalties_and_limits_lead_where_they_lead_transformers(
    mlx: MlxVlmEngine, transformers_engine: TransformersVlmEngine, options: dict[str, Any]
) -> None:
    job = ask(plain("red"), "Describe this image in detail.", max_tokens=40, **options)
    expected = answer(transformers_engine, job)
    assert answer(mlx, job) == expected
    other = ask(plain("blue"), "Describe", max_tokens=40)
    assert together(mlx, job, other)[0] == expected
    assert together(transformers_engine, job, other)[0] == expected


def test_log_probabilities_are_those_of_transformers(
    mlx: MlxVlmEngine, transformers_engine: TransformersVlmEngine
) -> None:
    job = ask(plain("red"), QUESTION, top_logprobs=3)
    ours, theirs = (
        [one for delta in engine.stream(job, lambda: False) for one in delta.logprobs]
        for engine in (mlx, transformers_engine)
    )
    assert [one.bytes for one in ours] == [one.bytes for one in theirs]
    assert [[t.token for t in one.top] for one in ours] == [[t.token for t in one.top] for one in theirs]
    np.testing.assert_allclose([one.logprob for one in ours], [one.logprob for one in theirs], atol=1e-3)


def test_an_answer_comes_in_pieces_with_its_end_and_usage(mlx: MlxVlmEngine) -> None:
    *pieces, last = deltas(mlx, ask(plain("red"), "Describe this image."))
    assert len(pieces) > 1
    assert all(piece.text and piece.finish_reason is None and piece.usage is None for piece in pieces)
    assert last.finish_reason == "stop"
    assert last.usage is not None
    assert last.usage.prompt_tokens > last.usage.image_tokens > 0


def test_a_limit_ends_an_answer(mlx: MlxVlmEngine) -> None:
    last = deltas(mlx, ask(plain("red"), "Describe this image.", max_tokens=3))[-1]
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


def test_pictures_are_seen_in_their_order_and_place(mlx: MlxVlmEngine) -> None:
    said = {
        answer(mlx, ask(plain(first), plain(second), "What is in each picture?"))
        for first, second in (("red", "blue"), ("blue", "red"), ("red", "red"))
    }
    assert len(said) == 3


def test_a_stop_text_is_cut_off_wherever_tokens_begin(mlx: MlxVlmEngine) -> None:
    whole = answer(mlx, ask(plain("red"), "Describe this image."))
    for at in range(1, len(whole) - 3, 4):
        stop = whole[at : at + 3]
        out = deltas(mlx, ask(plain("red"), "Describe this image.", stop=("not there", stop)))
        assert "".join(delta.text for delta in out) == whole[: whole.index(stop)]
        assert out[-1].finish_reason == "stop"


def test_a_seed_repeats_its_answer_and_leaves_the_global_generator_alone(mlx: MlxVlmEngine) -> None:
    import mlx.core as mx

    def drawn(seed: int | None) -> str:
        return answer(mlx, ask(plain("red"), "Describe", temperature=2.0, seed=seed, max_tokens=12))

    mx.random.seed(7)
    expected = mx.random.uniform(shape=(4,)).tolist()
    mx.random.seed(7)
    first = drawn(3)
    assert mx.random.uniform(shape=(4,)).tolist() == expected
    assert drawn(3) == first
    assert drawn(-3) == drawn(-3)
    assert len({first, drawn(4), drawn(5)}) == 3
    assert len({drawn(None) for _ in range(4)}) > 1


def test_a_small_top_p_is_greedy(mlx: MlxVlmEngine) -> None:
    greedy = answer(mlx, ask(plain("red"), "Describe"))
    for top_p in (0.0, 1e-6):
        assert answer(mlx, ask(plain("red"), "Describe", temperature=1.5, top_p=top_p, seed=3)) == greedy


def test_tokens_are_drawn_as_often_as_temperature_and_top_p_say(mlx: MlxVlmEngine) -> None:
    import mlx.core as mx

    given = np.array([0.05, 0.4, 0.25, 0.3])
    job = ask("hello", temperature=2.0, top_p=0.8, seed=1)

    def no_vocabulary() -> Vocabulary:
        raise AssertionError("no form needs one")

    choices = Choices(job, frozenset(), no_vocabulary, mx.array([0]), 4, 1)
    drawn = [choices(mx.log(mx.array(given[None]))).item() for _ in range(2000)]
    warm = np.sqrt(given) * [0, 1, 1, 1]  # the least likely is outside
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 2000, warm / warm.sum(), atol=0.04)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_schema_is_kept_to(mlx: MlxVlmEngine, temperature: float) -> None:
    form = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    for seed in range(3):
        out = answer(mlx, ask(plain("red"), "Describe", form=form, temperature=temperature, seed=seed))
        jsonschema.validate(json.loads(out), form)


def test_a_form_that_no_answer_can_have_is_refused_before_the_model_runs(mlx: MlxVlmEngine) -> None:
    with pytest.raises(InvalidInput):
        mlx.stream(ask("hello", form={"type": "no type"}), lambda: False)


def test_cancelling_ends_the_answer_within_one_token(mlx: MlxVlmEngine) -> None:
    asked = []

    def third_time() -> bool:
        asked.append(True)
        return len(asked) >= 3

    out = list(mlx.stream(ask(plain("red"), "Describe this image in detail."), third_time))
    assert len(asked) == 3
    assert all(delta.finish_reason is None for delta in out)
    assert answer(mlx, ask(plain("red"), QUESTION))


def test_closing_the_answer_early_stops_the_model(mlx: MlxVlmEngine) -> None:
    whole = answer(mlx, ask(plain("red"), QUESTION))
    answering = mlx.stream(ask(plain("red"), "Describe this image in detail."), lambda: False)
    next(answering)
    answering.close()  # type: ignore[attr-defined]
    assert answer(mlx, ask(plain("red"), QUESTION)) == whole


def test_an_error_in_the_model_reaches_the_caller_and_the_next_answer_comes(mlx: MlxVlmEngine) -> None:
    def broken() -> bool:
        raise RuntimeError("broken inside")

    with pytest.raises(InferenceFailed, match="broken inside"):
        list(mlx.stream(ask(plain("red"), "Describe this image."), broken))
    assert answer(mlx, ask(plain("red"), QUESTION))


def test_it_is_loaded_and_asked_in_a_thread_of_its_own_as_a_replica_does(mlx: MlxVlmEngine) -> None:
    job = ask(plain("red"), QUESTION)

    def loaded_and_asked() -> list[str]:
        engine = create_engine(entry("vlm_mlx"))
        assert isinstance(engine, MlxVlmEngine)
        engine.load()
        engine.warm_up()
        return [answer(engine, job) for _ in range(2)]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(loaded_and_asked).result() == [answer(mlx, job)] * 2
