"""The names that models answer to."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings as configuration
from deployments.ingress.calls.names import ModelNames
from deployments.ingress.errors import ApiError

ARGS = {
    "models": {
        "chat": {"engine": "vlm", "checkpoint": "builtin:vlm"},
        "pictures": {"engine": "diffusion", "checkpoint": "builtin:image"},
        "voice": {"engine": "espeak", "checkpoint": "builtin:voice"},
    },
    "routes": {"any-*": "chat", "any-image-*": "pictures"},
    "default_models": {"vlm": "chat", "image": "pictures", "voice": "voice"},
    "image_search_enabled": False,
}


@pytest.fixture
def names(tmp_path: Path) -> ModelNames:
    """All but the voice are deployed."""
    return ModelNames(configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path)}), ["chat", "pictures"])


def test_a_name_is_an_alias_a_pattern_or_a_checkpoint(names: ModelNames) -> None:
    assert names.resolve("chat", ["vlm"]) == "chat"
    assert names.resolve("any-thing", ["vlm"]) == "chat"
    assert names.resolve("builtin:image", ["image"]) == "pictures"


@pytest.mark.parametrize("name", ["chat:latest", "openai/chat", "openrouter/openai/chat:free", "openai/any-thing"])
def test_a_prefix_and_a_tag_are_taken_off_where_nothing_has_the_whole_name(names: ModelNames, name: str) -> None:
    assert names.resolve(name, ["vlm"]) == "chat"
    assert names.resolve("builtin:image", ["image"]) == "pictures", "the whole name of a checkpoint"


@pytest.mark.parametrize("name", ["chat/", ":chat", "openai/", "/", ":", "chat/other"])
def test_what_is_left_of_nothing_is_no_name(names: ModelNames, name: str) -> None:
    assert names.find(name) is None


def test_of_several_patterns_the_first_of_the_wanted_kind_counts(names: ModelNames) -> None:
    assert names.resolve("any-image-1", ["image"]) == "pictures"
    assert names.resolve("any-image-1", ["vlm"]) == "chat"
    assert names.find("any-image-1") == "chat"


def test_without_a_name_the_default_of_the_first_kind_that_is_deployed_answers(names: ModelNames) -> None:
    assert names.resolve(None, ["voice", "image"]) == "pictures"
    with pytest.raises(ApiError, match="no model of kind voice") as refused:
        names.resolve(None, ["voice"])
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


def test_a_name_that_is_not_known_lists_those_that_are(names: ModelNames) -> None:
    with pytest.raises(ApiError, match="there are: chat") as refused:
        names.resolve("none", ["vlm"])
    assert (refused.value.status, refused.value.param) == (404, "model")
    assert names.find("none") is None


def test_a_model_of_another_kind_is_refused(names: ModelNames) -> None:
    with pytest.raises(ApiError, match="is of kind image; this route takes: chat") as refused:
        names.resolve("pictures", ["vlm"])
    assert (refused.value.status, refused.value.param) == (400, "model")


def test_a_model_that_is_configured_and_not_deployed_is_not_found(names: ModelNames) -> None:
    assert names.find("voice") is None
    assert "voice" not in names.entries


@pytest.mark.parametrize("name", ["gpt-realtime", "openai/gpt-live-1", "gpt-audio-mini:latest", "sora-2"])
def test_models_of_kinds_that_are_not_here_lead_nowhere_and_the_error_says_so(tmp_path: Path, name: str) -> None:
    args = {**ARGS, "routes": {"*": "chat"}}
    names = ModelNames(configuration.validate(args, {"ATELIER_HOME": str(tmp_path)}), ["chat"])
    assert names.find(name) is None
    with pytest.raises(ApiError, match="this server makes no") as refused:
        names.resolve(name, ["vlm"])
    assert refused.value.status == 404
    named = ModelNames(
        configuration.validate({**args, "routes": {name: "chat"}}, {"ATELIER_HOME": str(tmp_path)}), ["chat"]
    )
    assert named.resolve(name, ["vlm"]) == "chat", "a configuration that names it means it"


def test_an_alias_made_of_others_stands_for_its_part_of_the_wanted_kind(tmp_path: Path) -> None:
    made = {"engine": "omni", "chat": "chat", "image": "pictures", "voice": "voice"}
    args = {**ARGS, "models": {**ARGS["models"], "all": made}, "routes": {"any-*": "all"}}  # type: ignore[dict-item]
    names = ModelNames(configuration.validate(args, {"ATELIER_HOME": str(tmp_path)}), ["chat", "pictures"])
    for name in ("all", "openai/all:latest", "any-thing"):
        assert names.resolve(name, ["vlm"]) == "chat"
        assert names.resolve(name, ["image"]) == "pictures"
        assert names.find(name) == "chat"
        omni = names.find_omni(name)
        assert omni is not None
        assert omni.parts == {"vlm": "chat", "image": "pictures"}, "the voice is not deployed"
    assert names.find_omni("chat") is None
    assert names.find_omni("nothing") is None
    with pytest.raises(ApiError, match="takes: none"):
        names.resolve("all", ["voice"])
    with pytest.raises(ApiError, match="there are: all, chat"):
        names.resolve("nothing", ["vlm"])


def test_without_its_chat_model_an_alias_made_of_others_is_not_there(tmp_path: Path) -> None:
    args = {**ARGS, "models": {**ARGS["models"], "all": {"engine": "omni", "chat": "chat"}}}  # type: ignore[dict-item]
    names = ModelNames(configuration.validate(args, {"ATELIER_HOME": str(tmp_path)}), ["pictures"])
    assert names.find_omni("all") is None
    assert names.find("all") is None
