"""Chat about pictures, on a tiny Qwen2.5-VL, InternVL3 and Gemma 3."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import jsonschema
import pytest
import torch
from PIL import Image

from models.chat.engines.vlm import TransformersVlmEngine
from models.errors import CheckpointError, InferenceFailed, InvalidImage, InvalidInput
from models.pictures import encode
from models.tasks import ImagePart, Message, Usage
from tests import checkpoints
from tests.models.chat.conversations import _COUNTED, answer, assistant, chat, deltas, picture, system, user
from tests.models.conftest import Shelf, loaded


class Counting:
    """A cancel check that counts how often it is asked, and says yes from then on."""

    def __init__(self, yes_from: int | None = None) -> None:
        self.times, self.yes_from = 0, yes_from

    def __call__(self) -> bool:
        self.times += 1
        return self.yes_from is not None and self.times >= self.yes_from


def usage(engine: TransformersVlmEngine, *messages: Message) -> Usage:
    found = deltas(engine, chat(*messages, max_tokens=1))[-1].usage
    assert found is not None
    return found


def test_text_alone_is_answered(vlm: TransformersVlmEngine) -> None:
    *pieces, last = deltas(vlm, chat(user("hello"), max_tokens=5))
    assert pieces
    assert all(piece.text and piece.finish_reason is None and piece.usage is None for piece in pieces)
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.image_tokens) == (5, 0)


def test_every_picture_of_every_message_counts(vlm: TransformersVlmEngine) -> None:
    none = usage(vlm, user("hello"), assistant("yes"), user("and now?"))
    one = usage(vlm, user(picture("red"), "hello"), assistant("yes"), user("and now?"))
    three = usage(
        vlm, user(picture("red"), "hello", picture("blue")), assistant("yes"), user(picture("red"), "and now?")
    )
    assert one.image_tokens > 0
    assert three.image_tokens == 3 * one.image_tokens
    assert three.prompt_tokens - none.prompt_tokens == 3 * (one.prompt_tokens - none.prompt_tokens)


def test_pictures_are_seen_in_their_order(vlm: TransformersVlmEngine) -> None:
    orders = [("red", "blue"), ("blue", "red"), ("red", "red")]
    assert len({answer(vlm, chat(user(picture(a), picture(b), "hello"))) for a, b in orders}) == 3


def test_a_system_message_reaches_the_model(vlm: TransformersVlmEngine) -> None:
    assert usage(vlm, system("be short"), user("hello")).prompt_tokens > usage(vlm, user("hello")).prompt_tokens


def test_a_template_that_refuses_system_messages_gets_them_in_the_user_turn(shelf: Shelf) -> None:
    gemma = loaded(shelf("gemma3"))
    folded = answer(gemma, chat(user("be short\n\nhello")))
    assert answer(gemma, chat(system("be short"), user("hello"))) == folded
    later = chat(user("a"), assistant("b"), system("be short"), user("hello"))
    assert answer(gemma, later) == answer(gemma, chat(user("a"), assistant("b"), user("be short\n\nhello")))


def test_neighbouring_messages_of_one_role_are_taken(vlm: TransformersVlmEngine) -> None:
    assert usage(vlm, user("hello"), user(picture("red")), user("again")).image_tokens > 0


def test_a_conversation_that_the_template_cannot_take_is_the_callers_fault(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match="must alternate") as caught:
        deltas(loaded(shelf("gemma3")), chat(assistant("hello"), user("hello")))
    assert caught.value.param == "messages"


def test_control_tokens_in_a_text_are_text(vlm: TransformersVlmEngine) -> None:
    written = "<|im_end|><|image_pad|><IMG_CONTEXT><start_of_image><image_soft_token><end_of_turn><|im_", "end|>"
    assert usage(vlm, user(*written)).image_tokens == 0
    assert usage(vlm, user(*written, picture("red"))).image_tokens == usage(vlm, user(picture("red"))).image_tokens


def test_temperature_0_is_greedy(vlm: TransformersVlmEngine) -> None:
    job = chat(user("hello"))
    assert len({answer(vlm, chat(user("hello"), seed=seed)) for seed in (1, 2)} | {answer(vlm, job)}) == 1


def test_a_seed_repeats_its_answer_and_leaves_the_global_generator_alone(vlm: TransformersVlmEngine) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = answer(vlm, chat(user("hello"), temperature=1.0, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert answer(vlm, chat(user("hello"), temperature=1.0, seed=3)) == first
    assert answer(vlm, chat(user("hello"), temperature=1.0, seed=4)) != first


def test_without_a_seed_answers_differ(qwen: TransformersVlmEngine) -> None:
    assert len({answer(qwen, chat(user("hello"), temperature=2.0)) for _ in range(4)}) > 1


def test_a_small_top_p_is_greedy(vlm: TransformersVlmEngine) -> None:
    assert answer(vlm, chat(user("hello"), temperature=1.0, top_p=1e-6, seed=3)) == answer(vlm, chat(user("hello")))


def test_an_end_token_ends_the_answer(shelf: Shelf, tmp_path: Path) -> None:
    entry = shelf("qwen2_5_vl")
    folder = tmp_path / "ends-at-once"
    shutil.copytree(entry.checkpoint, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": list(range(400))}))
    engine = loaded(entry.model_copy(update={"checkpoint": str(folder)}))
    (last,) = deltas(engine, chat(user("hello")))
    assert (last.text, last.finish_reason) == ("", "stop")
    assert last.usage is not None
    assert last.usage.completion_tokens == 1


def test_a_stop_text_is_cut_off_wherever_tokens_begin(qwen: TransformersVlmEngine) -> None:
    whole = answer(qwen, chat(user("hello")))
    for at in range(1, len(whole) - 3):
        stop = whole[at : at + 3]
        out = deltas(qwen, chat(user("hello"), stop=("not there", stop)))
        assert "".join(delta.text for delta in out) == whole[: whole.index(stop)]
        assert out[-1].finish_reason == "stop"


def test_cancelling_ends_the_answer_within_one_token(vlm: TransformersVlmEngine) -> None:
    asked = Counting(yes_from=3)
    out = list(vlm.stream(chat(user("hello"), max_tokens=500), asked))
    assert asked.times == 3
    assert all(delta.finish_reason is None for delta in out)
    assert answer(vlm, chat(user("hello")))


def test_closing_the_answer_early_stops_the_model(qwen: TransformersVlmEngine) -> None:
    asked = Counting()
    answering = qwen.stream(chat(user("hello"), max_tokens=1000), asked)
    next(answering)
    answering.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "generate"]
    assert asked.times < 1000


def test_an_answer_that_nobody_reads_does_not_run(qwen: TransformersVlmEngine) -> None:
    asked = Counting()
    qwen.stream(chat(user("hello")), asked)
    assert asked.times == 0


def test_an_error_in_the_model_reaches_the_caller_and_the_next_answer_comes(qwen: TransformersVlmEngine) -> None:
    def broken() -> bool:
        raise RuntimeError("broken inside")

    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(InferenceFailed, match="broken inside"):
        list(qwen.stream(chat(user("hello")), broken))
    with pytest.raises(KeyboardInterrupt):
        list(qwen.stream(chat(user("hello")), interrupted))
    assert answer(qwen, chat(user("hello")))


def test_more_than_the_context_is_refused_before_the_model_runs(qwen: TransformersVlmEngine) -> None:
    with pytest.raises(InvalidInput, match="at most 2047") as caught:
        qwen.stream(chat(user("colour? " * 1000)), lambda: False)
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")


def test_an_answer_ends_where_the_context_does(shelf: Shelf, tmp_path: Path) -> None:
    checkpoints.write_qwen2_5_vl(tmp_path / "short", max_position_embeddings=40)
    engine = loaded(shelf("qwen2_5_vl").model_copy(update={"checkpoint": str(tmp_path / "short")}))
    last = deltas(engine, chat(user("hello"), max_tokens=500))[-1]
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.prompt_tokens + last.usage.completion_tokens == 40


def test_a_damaged_picture_is_named_by_its_place(qwen: TransformersVlmEngine) -> None:
    with pytest.raises(InvalidImage) as caught:
        qwen.stream(chat(user("one"), assistant("two"), user("three", ImagePart(b"no picture"))), lambda: False)
    assert caught.value.param == "messages[2].content[1]"


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 60), (200, 2)])
def test_very_small_pictures_are_read(vlm: TransformersVlmEngine, size: tuple[int, int]) -> None:
    assert usage(vlm, user(ImagePart(encode(Image.new("RGB", size))))).image_tokens > 0


def test_a_picture_too_narrow_for_the_model_is_the_callers_fault(qwen: TransformersVlmEngine) -> None:
    with pytest.raises(InvalidImage, match="has 1x8000 pixels; one side may be 200 times the other") as caught:
        qwen.stream(chat(user(ImagePart(encode(Image.new("RGB", (1, 8000)))))), lambda: False)
    assert caught.value.param == "messages[0].content[0]"


def test_a_model_that_reads_no_pictures_is_refused(shelf: Shelf) -> None:
    text_model = str(Path(shelf("z_image").checkpoint) / "text_encoder")
    with pytest.raises(CheckpointError, match="is a qwen3 model, which reads no pictures"):
        loaded(shelf("qwen2_5_vl").model_copy(update={"checkpoint": text_model}))


def test_a_checkpoint_without_chat_template_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    entry = shelf("qwen2_5_vl")
    folder = tmp_path / "mute"
    shutil.copytree(entry.checkpoint, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="has no chat template"):
        loaded(entry.model_copy(update={"checkpoint": str(folder)}))


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_an_answer_keeps_to_its_schema(vlm: TransformersVlmEngine, temperature: float) -> None:
    job = chat(user(picture("red"), "hello"), form=_COUNTED, max_tokens=200, temperature=temperature, seed=1)
    out = deltas(vlm, job)
    assert out[-1].finish_reason == "stop"
    jsonschema.validate(json.loads("".join(delta.text for delta in out)), _COUNTED)


def test_an_answer_is_one_of_the_texts_it_may_be(vlm: TransformersVlmEngine) -> None:
    assert answer(vlm, chat(user("hello"), form=("yes", "no"), max_tokens=20)) in ("yes", "no")


def test_a_form_is_refused_before_the_model_runs(qwen: TransformersVlmEngine) -> None:
    with pytest.raises(InvalidInput):
        qwen.stream(chat(user("hello"), form={"type": "nonsense"}), lambda: False)


def test_each_token_tells_its_probability_and_the_likeliest_in_its_place(vlm: TransformersVlmEngine) -> None:
    out = deltas(vlm, chat(user("hello"), max_tokens=6, top_logprobs=3))
    told = [one for delta in out for one in delta.logprobs]
    last = out[-1]
    assert last.usage is not None
    assert len(told) == last.usage.completion_tokens - (last.finish_reason == "stop")
    assert "".join(one.token for one in told).strip() == "".join(
        delta.text for delta in out
    ).strip() or "\ufffd" in "".join(one.token for one in told)
    for one in told:
        assert one.logprob <= 0
        assert len(one.top) == 3
        assert one.top[0].token == one.token  # greedy
        assert one.top[0].logprob == pytest.approx(one.logprob)
        assert one.bytes.decode("utf-8", "replace") == one.token


def test_probabilities_are_the_models_own_whatever_narrows_the_choice(qwen: TransformersVlmEngine) -> None:
    (free,) = [one for delta in deltas(qwen, chat(user("a"), max_tokens=1, top_logprobs=20)) for one in delta.logprobs]
    job = chat(user("a"), max_tokens=1, top_logprobs=20, form=("yes", "no"))
    (bound,) = [one for delta in deltas(qwen, job) for one in delta.logprobs]
    assert [one.token for one in bound.top] == [one.token for one in free.top]
    assert [one.logprob for one in bound.top] == pytest.approx([one.logprob for one in free.top])


def test_no_probabilities_unless_they_are_asked_for(qwen: TransformersVlmEngine) -> None:
    assert not any(delta.logprobs for delta in deltas(qwen, chat(user("hello"))))


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties_keep_an_answer_from_repeating_itself(qwen: TransformersVlmEngine, penalty: str) -> None:
    def different(**options: float) -> float:
        out = deltas(qwen, chat(user("hello"), max_tokens=60, top_logprobs=0, **options))
        tokens = [one.bytes for delta in out for one in delta.logprobs]
        return len(set(tokens)) / len(tokens)

    assert different(**{penalty: 2.0}) > different(**{penalty: -2.0})
