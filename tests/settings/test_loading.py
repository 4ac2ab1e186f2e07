"""Settings: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings
from settings import ConfigurationError
from settings.environment import _MORE_KEYS, _OPENAI, VARIABLES
from tests.settings.mistakes import MINIMAL, mistake

ROOT = Path(__file__).parent.parent.parent


def test_the_shipped_configuration_is_valid() -> None:
    loaded = settings.load(ROOT / "serve_config.yaml", {})
    aliases = {"image-gen", "vlm-fast", "vlm-best", "gemma", "intern_vlm", "blip", "blip2", "clip", "voice", "listen"}
    assert aliases == set(loaded.models)


def test_the_environment_overrides_the_file() -> None:
    environ = {"IDLE_TIMEOUT": "7", "ATELIER_HOME": "/tmp/somewhere", "IMAGE_SEARCH_MAX_BYTES": "1000"}
    loaded = settings.validate(MINIMAL, environ)
    assert (loaded.idle_timeout, loaded.home, loaded.search.max_bytes) == (7.0, Path("/tmp/somewhere"), 1000)


def test_an_empty_variable_counts_as_absent() -> None:
    assert settings.validate(MINIMAL, {"IDLE_TIMEOUT": ""}).idle_timeout == 300


def test_flags_of_the_environment_are_real_booleans() -> None:
    assert settings.validate(MINIMAL, {"VOICE_ENABLED": "0"}).voice_enabled is False
    assert settings.validate(MINIMAL, {"VOICE_ENABLED": "false"}).voice_enabled is False


def test_an_unknown_key_is_named_with_what_is_allowed() -> None:
    text = mistake({**MINIMAL, "idle_time": 3})
    assert text.startswith("idle_time: unknown key; allowed here:")
    assert "idle_timeout" in text


def test_an_unknown_key_inside_a_model_is_named_with_its_path() -> None:
    text = mistake({"models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip", "chekpoint": "x"}}})
    assert text.startswith("models.clip.chekpoint: unknown key")
    assert "checkpoint" in text


def test_a_wrong_value_is_named_with_the_value() -> None:
    assert mistake({**MINIMAL, "idle_timeout": -1}) == "idle_timeout: -1: input should be greater than 0"


def test_a_wrong_variable_is_named_with_its_setting() -> None:
    text = mistake(MINIMAL, {"IDLE_TIMEOUT": "soon"})
    assert text.startswith("idle_timeout (from IDLE_TIMEOUT): 'soon':")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("applications: [", "is not valid YAML"),
        ("{}", "has no `applications:` list"),
        ("applications: [{name: a}]", "applications[0].args"),
        ("applications: [{args: {models: {clip: {engine: clip, checkpoint: x}}, port: 3}}]", "port: unknown key"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"broken\.yaml") as caught:
        settings.load(path, {})
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        settings.load(tmp_path / "nowhere.yaml", {})


OPENAI = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://localhost:1/v1", "OPENAI_PROMPT_MODEL": "m"}


def test_the_prompt_writer_has_variables_of_its_own_and_hides_the_key() -> None:
    environ = {
        name.replace("OPENAI", "ATELIER_PROMPT").replace("_PROMPT_PROMPT", "_PROMPT"): OPENAI[name] for name in OPENAI
    }
    prompts = settings.validate(MINIMAL, environ).prompts
    assert prompts.api_key is not None
    assert prompts.api_key.get_secret_value() == "sk-1"
    assert (prompts.base_url, prompts.model, prompts.alias) == ("http://localhost:1/v1", "m", None)
    assert "sk-1" not in repr(prompts)
    assert settings.validate(MINIMAL, {}).prompts.model == "gpt-4.1"


def test_an_openai_key_that_is_in_the_shell_by_chance_is_used_only_where_that_is_allowed() -> None:
    assert settings.validate(MINIMAL, OPENAI).prompts == settings.validate(MINIMAL, {}).prompts
    theirs = {**MINIMAL, "prompts": {"api_key": "mine", "base_url": "http://localhost:2/v1"}}
    assert settings.validate(theirs, OPENAI).prompts.base_url == "http://localhost:2/v1"
    allowed = settings.validate(theirs, {**OPENAI, "ATELIER_PROMPT_OPENAI": "1", "ATELIER_PROMPT_MODEL": "o"}).prompts
    assert allowed.api_key is not None
    assert (allowed.api_key.get_secret_value(), allowed.base_url, allowed.model) == (
        "sk-1",
        "http://localhost:1/v1",
        "o",
    )
    assert mistake(MINIMAL, {**OPENAI, "ATELIER_PROMPT_OPENAI": "x"}) == "ATELIER_PROMPT_OPENAI: 'x': 1 or 0 is needed"
    without = mistake(MINIMAL, {"ATELIER_PROMPT_OPENAI": "1"})
    assert without == "ATELIER_PROMPT_OPENAI: 1 needs OPENAI_API_KEY, which is not set"


def test_what_kubernetes_says_of_a_service_is_not_taken_for_a_port(caplog: pytest.LogCaptureFixture) -> None:
    environ = {
        "REDIS_PORT": "tcp://10.96.0.11:6379",
        "REDIS_HOST": "cache",
        "REDIS_PORT_6379_TCP": "tcp://10.96.0.11:6379",
    }
    cache = settings.validate(MINIMAL, environ).cache
    assert cache.url is not None
    assert cache.url.get_secret_value() == "redis://cache:6379/0"
    settings.validate(MINIMAL, environ)
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == ["REDIS_PORT=tcp://10.96.0.11:6379"]
    assert settings.variable({"GATEWAY_PORT": "tcp://10.96.0.12:80"}, "GATEWAY_PORT") is None
    assert settings.variable({"GATEWAY_PORT": "8080"}, "GATEWAY_PORT") == "8080"
    assert mistake(MINIMAL, {"REDIS_PORT": "http://10.96.0.11"}).startswith(
        "cache.redis_port (from REDIS_PORT): 'http:"
    )


@pytest.mark.parametrize("home", [{}, {"REDIS_HOST": "cache"}])
def test_no_service_of_any_name_in_the_same_namespace_changes_a_setting(home: dict[str, str]) -> None:
    """What Kubernetes puts into a container's environment, for services that are called as our variables begin."""
    names = {name.rpartition("_PORT")[0] for name in [*VARIABLES, "GATEWAY_PORT", "FILE_SERVER_PORT"]}
    words = [name.split("_") for name in [*VARIABLES, *_MORE_KEYS, *_OPENAI, "ATELIER_MEMORY", "FILE_SERVER_PORT"]]
    names |= {"_".join(each[:count]) for each in words for count in range(1, len(each) + 1)}
    services: dict[str, str] = {}
    for name in filter(None, names):
        address = "tcp://10.96.0.11:6379"
        services |= {
            f"{name}_SERVICE_HOST": "10.96.0.11", f"{name}_SERVICE_PORT": "6379", f"{name}_SERVICE_PORT_WEB": "6379",
            f"{name}_PORT": address, f"{name}_PORT_6379_TCP": address, f"{name}_PORT_6379_TCP_PROTO": "tcp",
            f"{name}_PORT_6379_TCP_PORT": "6379", f"{name}_PORT_6379_TCP_ADDR": "10.96.0.11",
        }  # fmt: skip
    assert {"REDIS_PORT", "FILE_SERVER_PORT", "GATEWAY_PORT", "ATELIER_PORT"} <= services.keys()
    assert settings.validate(MINIMAL, {**services, **home}) == settings.validate(MINIMAL, home)
    for name in ("PORT", "GATEWAY_PORT", "FILE_SERVER_PORT", "ATELIER_MEMORY"):
        assert settings.variable(services, name) is None


def test_a_mistake_in_the_settings_of_the_prompt_writer_is_one_line_without_the_key() -> None:
    assert mistake(MINIMAL, {"ATELIER_PROMPT_BASE_URL": "ftp://x"}).startswith(
        "prompts.base_url (from ATELIER_PROMPT_BASE_URL): 'ftp:"
    )
    text = mistake({**MINIMAL, "prompts": {"api_key": 12345}})
    assert text.startswith("prompts.api_key: ")
    assert "12345" not in text
    assert mistake({**MINIMAL, "prompts": {"key": "x"}}).startswith("prompts.key: unknown key; allowed here: api_key,")
    assert (
        mistake({**MINIMAL, "prompts": {"alias": "clip"}}) == "prompts.alias: 'clip' is a model of kind clip, not vlm"
    )
    text = mistake({**MINIMAL, "prompts": {"alias": "vlm"}})
    assert text == "prompts.alias: 'vlm' is not an alias of models; allowed: clip"
