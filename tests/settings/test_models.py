"""What a configuration may say of models, their engines and their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

import settings
from cli.environment import ROOT
from tests.settings.mistakes import MINIMAL, mistake


def test_an_unknown_engine_lists_the_engines() -> None:
    text = mistake({"models": {"clip": {"engine": "clap", "checkpoint": "x"}}})
    assert text.startswith("models.clip.engine: 'clap':")
    assert ", clip" in text


def test_a_missing_checkpoint_key_is_named() -> None:
    assert mistake({"models": {"clip": {"engine": "clip"}}}) == "models.clip.checkpoint: is missing"


def test_an_accelerator_that_can_be_no_label_is_refused() -> None:
    def entry(accelerator: object) -> dict[str, Any]:
        return {"models": {"clip": {**MINIMAL["models"]["clip"], "accelerator": accelerator}}}

    assert settings.validate(entry("GeForce-RTX-4090"), {}).models["clip"].accelerator == "GeForce-RTX-4090"
    for wrong in ("RTX 4090", "", "H100!", "a" * 64):
        assert mistake(entry(wrong)).startswith(f"models.clip.accelerator: {wrong!r}: "), wrong


def test_replicas_that_contradict_each_other_are_refused_by_the_name_of_the_field() -> None:
    def entry(**replicas: object) -> dict[str, Any]:
        return {"models": {"clip": {**MINIMAL["models"]["clip"], "max_ongoing": 8, "replicas": replicas}}}

    assert mistake(entry(min=3, max=2)) == "models.clip.replicas.max: 2: is less than min; allowed: 3 or more"
    assert mistake(entry(min=2)) == "models.clip.replicas.max: 1: is less than min; allowed: 2 or more"
    assert mistake(entry(min=0)).startswith("models.clip.replicas.min: 0: ")
    assert mistake(entry(max="many")).startswith("models.clip.replicas.max: 'many': ")
    assert mistake(entry(most=2)).startswith("models.clip.replicas.most: unknown key; allowed here: min, max,")
    assert mistake(entry(max=2, target_ongoing=0)).startswith("models.clip.replicas.target_ongoing: 0: ")
    text = mistake(entry(max=2, target_ongoing=9))
    assert text == "models.clip.replicas.target_ongoing: 9 is more than max_ongoing; allowed: 8 or less"
    text = mistake({"models": {"clip": {**MINIMAL["models"]["clip"], "replicas": 2}}})
    assert text.startswith("models.clip.replicas: ")


def test_the_models_that_docs_scale_shows_are_taken() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    (shown,) = [block["models"] for block in blocks if "models" in block]
    taken = settings.validate({"models": shown, "image_search_enabled": False}, {}).models
    assert {alias: (entry.replicas.min, entry.replicas.max) for alias, entry in taken.items()} == {
        "klein": (1, 6),
        "dev": (1, 1),
        "voice": (2, 4),
    }


def test_a_checkpoint_that_is_missing_or_of_another_kind_is_refused_at_once(tmp_path: Path) -> None:
    def entry(engine: str, checkpoint: str) -> dict[str, Any]:
        return {**MINIMAL, "models": {**MINIMAL["models"], "x": {"engine": engine, "checkpoint": checkpoint}}}

    assert "there is no built-in checkpoint 'builtin:flux'" in mistake(entry("diffusion", "builtin:flux"))
    assert mistake(entry("vlm", str(tmp_path / "no"))).startswith("models.x.checkpoint: no checkpoint folder at")
    assert "has no model_index.json" in mistake(entry("diffusion", "builtin:clip"))
    assert "has no open_clip_config.json" in mistake(entry("clip", str(tmp_path)))


def test_a_checkpoint_that_another_engine_loads_is_refused_at_once(tmp_path: Path) -> None:
    def refusal(engine: str, checkpoint: str) -> str:
        return mistake({"models": {**MINIMAL["models"], "x": {"engine": engine, "checkpoint": checkpoint}}})

    text = refusal("vlm", "builtin:blip")
    assert text.startswith("models.x.checkpoint: 'builtin:blip' is a blip model, which cannot answer messages")
    assert refusal("captioner", "builtin:vlm").endswith("'builtin:vlm' is a qwen2_5_vl model, not blip or blip-2")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert refusal("vlm", str(tmp_path)).endswith("is a llama model, which reads no pictures")
    (tmp_path / "config.json").write_text("{")
    assert "config.json cannot be read: " in refusal("captioner", str(tmp_path))


def test_no_models_at_all_is_refused() -> None:
    assert mistake({"models": {}}).startswith("models")
    assert mistake({}) == "models: is missing"


def test_a_route_to_no_model_lists_the_models() -> None:
    assert (
        mistake({**MINIMAL, "routes": {"gpt-*": "vlm"}})
        == "routes.gpt-*: 'vlm' is not an alias of models; allowed: clip"
    )


def test_a_default_of_another_kind_is_refused() -> None:
    assert "kind clip" in mistake({**MINIMAL, "default_models": {"image": "clip"}})


def test_search_without_its_embedder_is_refused_unless_search_is_off() -> None:
    only_voice = {"models": {"voice": {"engine": "espeak", "checkpoint": "builtin:voice"}}}
    assert "search.embedder" in mistake(only_voice)
    assert settings.validate(only_voice, {"IMAGE_SEARCH_ENABLED": "0"}).image_search_enabled is False


def test_an_embedder_of_texts_alone_is_not_one_of_image_search() -> None:
    texts_only = {"models": {**MINIMAL["models"], "texts": {"engine": "sentence", "checkpoint": "some/embedder"}}}
    routed = settings.validate({**texts_only, "routes": {"text-embedding-*": "texts"}}, {})
    assert routed.routes["text-embedding-*"] == "texts"
    said = mistake({**texts_only, "search": {"embedder": "texts"}})
    assert said == "search.embedder: 'texts' is not a model that embeds pictures"


def test_an_alias_may_not_be_a_deployment_of_the_servers_own() -> None:
    models = {**MINIMAL["models"], "search": MINIMAL["models"]["clip"]}
    assert mistake({"models": models}) == "models.search: this name is the server's own; choose another alias"


def test_a_task_needs_a_model_that_answers() -> None:
    assert mistake({**MINIMAL, "tasks": {"ocr": "clip"}}) == "tasks.ocr: 'clip' is a model of kind clip, not vlm"


def test_a_mistake_in_an_engines_options_is_named_with_its_value_or_with_what_is_allowed() -> None:
    def entry(**options: object) -> dict[str, Any]:
        picture = {"engine": "diffusion", "checkpoint": "builtin:image", "options": options}
        return {**MINIMAL, "models": {**MINIMAL["models"], "x": picture}}

    text = mistake(entry(native_pixel=4096))
    assert text.startswith("models.x.options.native_pixel: unknown key; allowed here: guidance_argument, call,")
    assert mistake(entry(max_batch=0)) == "models.x.options.max_batch: 0: input should be greater than or equal to 1"
    text = mistake(entry(loading={"quantisation": "nf4"}))
    assert text.startswith("models.x.options.loading.quantisation: unknown key; allowed here: variant, quantization,")
    text = mistake(entry(loading={"quantization": "nf5"}))
    assert text.startswith("models.x.options.loading.quantization: 'nf5': input should be 'none', 'nf4',")


def test_what_the_caption_routes_ask_stands_in_a_models_entry() -> None:
    def entry(**caption: str) -> dict[str, Any]:
        blip = {"engine": "captioner", "checkpoint": "builtin:blip", "caption": caption}
        return {"models": {**MINIMAL["models"], "blip": blip}}

    assert settings.validate(entry(prompt="a photo of"), {}).models["blip"].caption.prompt == "a photo of"
    assert mistake(entry(propmt="a")).startswith("models.blip.caption.propmt: unknown key; allowed here: prompt,")
    assert mistake(entry(prompt="")).startswith("models.blip.caption.prompt: '': ")


def omni(**parts: Any) -> dict[str, Any]:
    """A configuration with an alias made of others."""
    models = {
        **MINIMAL["models"],
        "chat": {"engine": "vlm", "checkpoint": "builtin:vlm"},
        "pictures": {"engine": "diffusion", "checkpoint": "builtin:image"},
        "all": {"engine": "omni", "chat": "chat", "image": "pictures", **parts},
    }
    return {**MINIMAL, "models": models, "routes": {"gpt-*": "all"}}


def test_an_alias_may_be_made_of_others(tmp_path: Path) -> None:
    made = settings.validate(omni(), {"ATELIER_HOME": str(tmp_path)})
    assert list(made.models) == ["clip", "chat", "pictures"]
    assert made.omni["all"].parts == {"vlm": "chat", "image": "pictures"}
    assert made.routes["gpt-*"] == "all"


def test_what_an_alias_is_made_of_has_to_be_there_and_of_the_right_kind() -> None:
    assert mistake(omni(image="chat")) == "models.all.image: 'chat' is no model of kind image; allowed: pictures"
    assert mistake(omni(chat="all")) == "models.all.chat: 'all' is no model of kind vlm; allowed: chat"
    assert mistake(omni(voice="clip")).endswith("allowed: none, since no such model is configured")
    assert mistake(omni(chat=None)).startswith("models.all.chat: ")
    assert mistake(omni(checkpoint="x")).startswith("models.all.checkpoint: ")
    assert mistake({**omni(), "default_models": {"vlm": "all"}}).startswith("default_models.vlm: 'all' is not an alias")
