import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from training.captions import LANGUAGES
from training.conversations import Conversation, pack
from training.evaluate import MODELS
from training.questions import ask
from training.sight import look, patches
from training.vlm import Student, save, tokenizer_of
from training.world import Scene, random_scene, render

FOLDER = MODELS / "vlm"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_of(FOLDER)


@pytest.fixture(scope="module")
def student(tokenizer: Any) -> Student:
    """Weights large enough that a wrong position or mask shows."""
    torch.manual_seed(0)
    made = Student(tokenizer).eval()
    for parameter in made.model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, 0, 0.08)
    return made


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(1)
    return [random_scene(rng, word=1.0), random_scene(rng)]


def test_patches_are_what_the_image_processor_makes(scenes: list[Scene]) -> None:
    pictures = [render(s) for s in scenes]
    theirs = AutoProcessor.from_pretrained(FOLDER).image_processor(images=pictures, return_tensors="pt")
    ours = patches(np.stack([np.asarray(p) for p in pictures]))
    assert theirs["image_grid_thw"].tolist() == [[1, 8, 8]] * 2
    assert np.allclose(ours.reshape(-1, ours.shape[-1]), theirs["pixel_values"].numpy(), atol=1e-5)


def test_any_photograph_becomes_about_as_many_patches(scenes: list[Scene]) -> None:
    processor = AutoProcessor.from_pretrained(FOLDER)
    picture = render(scenes[0])
    for size in ((1024, 1024), (640, 480), (30, 30), (1600, 400)):
        grid = processor.image_processor(images=[picture.resize(size)], return_tensors="pt")["image_grid_thw"]
        assert int(grid.prod()) <= 64


def test_questions_packed_together_get_the_logits_that_each_gets_alone(
    student: Student, tokenizer: Any, scenes: list[Scene]
) -> None:
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    pictures = [render(s) for s in scenes]
    said = [ask(scenes[0], np.random.default_rng(i), language) for i, language in enumerate(LANGUAGES)]
    packed = Conversation(encode, student.image_token)
    packed.begin()
    packed.say("<|im_start|>user\n")
    packed.show(0)
    packed.show(1)
    for exchange in said:
        assert exchange is not None
        packed.begin(0)
        packed.exchange(exchange)
    rows = pack([packed], student.padding)
    inner = student.model.model
    processor = AutoProcessor.from_pretrained(FOLDER)
    with torch.no_grad():
        merged = look(inner.visual, torch.from_numpy(patches(np.stack([np.asarray(p) for p in pictures]))))
        embeds = inner.get_input_embeddings()(rows.tokens)
        shown = (rows.tokens == student.image_token)[..., None]
        embeds = embeds.masked_scatter(shown, merged.flatten(0, 1)[rows.pictures])
        hidden = inner.language_model(
            inputs_embeds=embeds,
            position_ids=rows.positions,
            attention_mask={"full_attention": rows.sees},
            use_cache=False,
        ).last_hidden_state
        logits = student.model.lm_head(hidden)[0]
        lengths = [len(s.tokens) for s in packed.segments]
        starts = np.cumsum([0, *lengths])
        for i, exchange in enumerate(said):
            assert exchange is not None
            parts = [*({"type": "image", "image": p} for p in pictures), {"type": "text", "text": exchange.question}]
            turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": exchange.answer}]
            inputs = processor.apply_chat_template(turns, tokenize=True, return_dict=True, return_tensors="pt")
            at = [*range(lengths[0]), *range(starts[i + 1], starts[i + 2])]
            assert inputs["input_ids"][0, : len(at)].tolist() == rows.tokens[0, at].tolist()
            alone = student.model(**inputs).logits[0, : len(at)]
            assert torch.allclose(alone, logits[at], atol=1e-3)


def test_what_is_saved_is_laid_out_like_a_released_checkpoint_and_loads_with_the_same_values(
    student: Student, tokenizer: Any, tmp_path: Path
) -> None:
    save(student, tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "text_config" not in config
    assert config["vision_config"]["model_type"] == "qwen2_5_vl"
    assert config["rope_scaling"]["type"] == "mrope"
    model, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    text, ours = model.config.text_config, student.model.config.text_config
    assert model.dtype == torch.float32
    assert text.rope_parameters["mrope_section"] == ours.rope_parameters["mrope_section"]
    for field in ("rope_theta", "rope_type"):
        assert text.rope_parameters[field] == ours.rope_parameters[field]
    for field in ("hidden_size", "num_key_value_heads", "vocab_size", "eos_token_id", "rms_norm_eps"):
        assert getattr(text, field) == getattr(ours, field)
    kept = model.state_dict()
    for name, value in student.model.state_dict().items():
        assert torch.equal(kept[name], value.bfloat16().float())
