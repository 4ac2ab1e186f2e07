"""What models are said to be able to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.ingress.services.model_cards import model_card
from models.entry import ModelEntry

EVERYTHING = ("image.generate", "image.edit", "image.mask", "image.variation")


def pipeline(folder: Path, name: str) -> ModelEntry:
    (folder / "model_index.json").write_text(f'{{"_class_name": "{name}"}}')
    return ModelEntry.model_validate({"engine": "diffusion", "checkpoint": str(folder)})


@pytest.mark.parametrize(
    ("name", "capabilities", "max_images"),
    [
        ("Flux2KleinPipeline", EVERYTHING, 16),
        ("FluxKontextPipeline", EVERYTHING, 1),
        ("QwenImageEditPlusPipeline", ("image.edit", "image.variation"), 16),
        ("SomethingNewPipeline", EVERYTHING, 16),
    ],
)
def test_a_picture_model_can_do_what_its_pipelines_can(
    tmp_path: Path, name: str, capabilities: tuple[str, ...], max_images: int
) -> None:
    card = model_card(pipeline(tmp_path, name))
    assert card.capabilities == capabilities
    assert card.limits["max_images"] == max_images
    assert card.limits["default_size"] == "1024x1024"


@pytest.mark.parametrize(
    ("entry", "capabilities", "licence"),
    [
        ({"engine": "vlm", "checkpoint": "builtin:vlm"}, ("chat", "chat.vision", "caption"), "Apache-2.0"),
        ({"engine": "captioner", "checkpoint": "org/blip"}, ("caption",), None),
        ({"engine": "clip", "checkpoint": "org/clip", "licence": "MIT"}, ("embed.text", "embed.image"), "MIT"),
        ({"engine": "espeak", "checkpoint": "builtin:voice"}, ("speech", "clone"), "Apache-2.0"),
    ],
)
def test_other_models_can_do_what_their_kind_can(
    entry: dict[str, Any], capabilities: tuple[str, ...], licence: str | None
) -> None:
    card = model_card(ModelEntry.model_validate(entry))
    assert (card.capabilities, card.licence) == (capabilities, licence)


def test_a_picture_model_names_the_adapters_that_are_configured(tmp_path: Path) -> None:
    plain = pipeline(tmp_path, "Flux2KleinPipeline")
    assert model_card(plain).limits["loras"] == []
    adapters = {"loras": {"ink": {"checkpoint": "org/ink"}, "clay": {"checkpoint": "org/clay"}}}
    assert model_card(plain.model_copy(update={"options": adapters})).limits["loras"] == ["ink", "clay"]


CHATML = "{% for message in messages %}{{ message.content }}{# no tools #}{% endfor %}"
WITH_TOOLS = "{% generation %}{% if tools is not none %}{{ tools | tojson }}{% endif %}{% endgeneration %}" + CHATML


@pytest.mark.parametrize(
    ("files", "takes_tools"),
    [
        ({"chat_template.jinja": CHATML}, False),
        ({"chat_template.jinja": WITH_TOOLS}, True),
        ({"chat_template.jinja": "{{ 'tools }}"}, False),
        ({"chat_template.json": json.dumps({"chat_template": WITH_TOOLS})}, True),
        ({"tokenizer_config.json": json.dumps({"chat_template": CHATML})}, False),
        (
            {
                "tokenizer_config.json": json.dumps(
                    {
                        "chat_template": [
                            {"name": "default", "template": CHATML},
                            {"name": "tool_use", "template": WITH_TOOLS},
                        ]
                    }
                )
            },
            True,
        ),
        ({"tokenizer_config.json": "{}"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("engine", ["vlm", "vlm_mlx"])
def test_a_chat_model_takes_tools_where_its_template_does_something_with_them(
    tmp_path: Path, engine: str, files: dict[str, str], takes_tools: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    card = model_card(ModelEntry.model_validate({"engine": engine, "checkpoint": str(tmp_path)}))
    assert ("tools" in card.capabilities) is takes_tools


def test_a_chat_model_of_the_hub_takes_tools_as_far_as_is_known_before_it_is_downloaded() -> None:
    card = model_card(ModelEntry.model_validate({"engine": "vlm", "checkpoint": "nobody/nothing-of-this-name"}))
    assert "tools" not in card.capabilities


def test_a_chat_model_of_another_server_takes_tools_since_they_are_passed_on() -> None:
    upstream = {"engine": "upstream", "checkpoint": "any", "options": {"base_url": "http://localhost:1/v1"}}
    assert "tools" in model_card(ModelEntry.model_validate(upstream)).capabilities
