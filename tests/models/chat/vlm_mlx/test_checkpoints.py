"""Which checkpoints and requests are refused, and what one without turns can do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.catalog import create_engine
from models.chat.engines.vlm_mlx import MlxVlmEngine
from models.checkpoints import local_folder
from models.errors import CheckpointError, InvalidImage, InvalidInput
from models.tasks import ChatJob, ImagePart
from tests.models.chat.vlm_mlx.asking import QUESTION, answer, ask, deltas, entry, message, plain, usage

Changed = Callable[..., MlxVlmEngine]


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
