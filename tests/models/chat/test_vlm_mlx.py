"""Chat about pictures on MLX: the built-in model, compared with transformers, and changed copies of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from bench.parity import agreement, questions
from models.catalog import create_engine
from models.chat.engine import PendingChat
from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.engines.vlm_mlx import MlxVlmEngine
from models.chat.mlx_sampling import Choices
from models.checkpoints import local_folder
from models.entry import ModelEntry
from models.errors import CheckpointError, InferenceFailed, InvalidImage, InvalidInput
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, Usage
from tests.models.conftest import together

QUESTION = "What colour is the background?"
Changed = Callable[..., MlxVlmEngine]


def entry(engine: str, checkpoint: str = "builtin:vlm", **more: object) -> ModelEntry:
    return ModelEntry.model_validate(
        {"engine": engine, "checkpoint": checkpoint, "device": "cpu", "threads": 1, **more}
    )


@pytest.fixture(scope="module")
def transformers_engine() -> TransformersVlmEngine:
    engine = create_engine(entry("vlm"))
    assert isinstance(engine, TransformersVlmEngine)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def mlx(transformers_engine: TransformersVlmEngine) -> Iterator[MlxVlmEngine]:
    """Loaded after the other engine, and undone for those that follow: mlx-vlm puts its own processors into
    transformers' AutoProcessor, which a replica with one engine never notices.
    """
    from transformers import AutoProcessor

    own = AutoProcessor.__dict__["from_pretrained"]
    engine = create_engine(entry("vlm_mlx"))
    assert isinstance(engine, MlxVlmEngine)
    engine.load()
    try:
        yield engine
    finally:
        AutoProcessor.from_pretrained = own


@pytest.fixture
def changed(mlx: MlxVlmEngine, tmp_path: Path) -> Changed:
    """The built-in model with other fields in a JSON file of its folder, loaded."""

    def load(name: str = "config.json", *, without: str = "", **fields: object) -> MlxVlmEngine:
        folder = tmp_path / "changed"
        shutil.copytree(local_folder("builtin:vlm") or "", folder)
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
        if without:
            (folder / without).unlink()
        engine = create_engine(entry("vlm_mlx", str(folder)))
        assert isinstance(engine, MlxVlmEngine)
        engine.load()
        return engine

    return load


def plain(colour: str, size: tuple[int, int] = (64, 64)) -> ImagePart:
    return ImagePart(encode(Image.new("RGB", size, colour)))


def message(role: Any, *parts: str | ImagePart) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def ask(*parts: str | ImagePart, **options: Any) -> ChatJob:
    return ChatJob((message("user", *parts),), **options)


def deltas(engine: MlxVlmEngine, job: ChatJob) -> list[ChatDelta]:
    return list(engine.stream(job, lambda: False))


def answer(engine: MlxVlmEngine | TransformersVlmEngine, job: ChatJob) -> str:
    return "".join(delta.text for delta in engine.stream(job, lambda: False))


def usage(engine: MlxVlmEngine | TransformersVlmEngine, *messages: Message) -> Usage:
    found = list(engine.stream(ChatJob(messages, max_tokens=1), lambda: False))[-1].usage
    assert found is not None
    return found


# The same model, twice


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


# The stream


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
    choices = Choices(job, frozenset(), lambda: None, mx.array([0]), 4)
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


# Side by side


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


def test_who_leaves_is_told_nothing_more_and_the_others_go_on(mlx: MlxVlmEngine) -> None:
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


# What it refuses


def test_more_than_the_context_is_refused_before_the_model_runs(mlx: MlxVlmEngine) -> None:
    with pytest.raises(InvalidInput, match="at most 4095") as caught:
        mlx.stream(ask("colour? " * 4000), lambda: False)
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")


def test_an_answer_ends_where_the_context_does(changed: Changed) -> None:
    last = deltas(changed(max_position_embeddings=34), ask(plain("red"), "Describe this image in detail."))[-1]
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.prompt_tokens + last.usage.completion_tokens == 34


def test_control_tokens_and_placeholders_in_a_text_are_text(mlx: MlxVlmEngine) -> None:
    written = "<|im_end|><|image_pad|><|video_pad|><|placeholder|><image><|im_", "end|>"
    assert usage(mlx, message("user", *written)).image_tokens == 0
    one = usage(mlx, message("user", plain("red"))).image_tokens
    assert usage(mlx, message("user", *written, plain("red"))).image_tokens == one


def test_a_damaged_picture_is_named_by_its_place(mlx: MlxVlmEngine) -> None:
    with pytest.raises(InvalidImage) as caught:
        mlx.stream(ChatJob((message("user", "one"), message("user", "two", ImagePart(b"none")))), lambda: False)
    assert caught.value.param == "messages[1].content[1]"


def test_a_picture_too_narrow_for_the_model_is_the_callers_fault(mlx: MlxVlmEngine) -> None:
    with pytest.raises(InvalidInput, match="one side may be 200 times the other"):
        mlx.stream(ask(plain("red", (1, 300))), lambda: False)


# The checkpoint


def test_every_end_token_of_the_checkpoint_ends_an_answer(changed: Changed) -> None:
    (last,) = deltas(changed("generation_config.json", eos_token_id=list(range(2048))), ask(plain("red"), QUESTION))
    assert (last.text, last.finish_reason) == ("", "stop")


def test_it_counts_its_parameters_and_gives_them_back(changed: Changed) -> None:
    engine = changed()
    assert engine.footprint == pytest.approx(4 * 4.56e6, rel=0.01)  # float32 on a CPU
    engine.unload()
    assert engine.footprint == 0


def test_code_that_a_checkpoint_brings_is_not_run(changed: Changed) -> None:
    with pytest.raises(CheckpointError, match="code of its own"):
        changed(model_file="model.py")


def test_a_checkpoint_without_chat_template_is_refused(changed: Changed) -> None:
    with pytest.raises(CheckpointError, match="has no chat template"):
        changed(without="chat_template.jinja")


def test_a_model_that_reads_no_pictures_is_refused(changed: Changed, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(CheckpointError, match="is a qwen3 model, which reads no pictures"):
        create_engine(entry("vlm_mlx", str(tmp_path))).load()


# Moondream, which has no chat template


@pytest.fixture
def moondream(mlx: MlxVlmEngine, tmp_path: Path) -> MlxVlmEngine:
    """A Moondream 3 with random weights: a picture is 729 tokens."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.models.moondream3 import Model, ModelConfig

    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    experts = {"moe_start_layer": 1, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    text = {**size, **experts, "vocab_size": 2048, "num_key_value_heads": 2, "head_dim": 16, "rope_dim": 8}
    config = {
        "model_type": "moondream3",
        "text_config": text,
        "vision_config": {**size, "proj_inner_dim": 48, "proj_out_dim": 32},
    }
    mx.random.seed(0)
    weights = dict(tree_flatten(Model(ModelConfig.from_dict(config)).parameters()))
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy((local_folder("builtin:vlm") or tmp_path) / name, tmp_path)
    engine = create_engine(entry("vlm_mlx", str(tmp_path)))
    assert isinstance(engine, MlxVlmEngine)
    engine.load()
    return engine


def test_a_model_without_turns_answers_a_question_about_a_picture(moondream: MlxVlmEngine) -> None:
    said = {answer(moondream, ask(plain(colour), "What is it?", max_tokens=8)) for colour in ("red", "white")}
    assert len(said) == 2
    assert usage(moondream, message("user", plain("red"), "What is it?")).prompt_tokens > 729
    assert usage(moondream, message("user", "What is it?")).prompt_tokens < 20
    assert answer(moondream, ask(plain("red"), "What is it?", form=("yes", "no"))) in ("yes", "no")


def test_a_model_without_turns_reads_one_picture(moondream: MlxVlmEngine) -> None:
    with pytest.raises(InvalidInput, match="one picture at a time"):
        moondream.stream(ask(plain("red"), plain("blue"), "What are they?"), lambda: False)
