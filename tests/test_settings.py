"""Settings: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import settings
import stores.uploads
import stores.voices
from settings import ConfigurationError
from stores.api_keys import Limits

ROOT = Path(__file__).parent.parent
MINIMAL: dict[str, Any] = {"models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip"}}}


def mistake(args: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings.validate(args, environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_configuration_is_valid() -> None:
    loaded = settings.load(ROOT / "serve_config.yaml", {})
    assert {"image-gen", "vlm-fast", "vlm-best", "gemma", "intern_vlm", "blip", "blip2", "clip", "voice"} == set(
        loaded.models
    )


def test_the_environment_overrides_the_file() -> None:
    environ = {"IDLE_TIMEOUT": "7", "ATELIER_HOME": "/tmp/somewhere", "IMAGE_SEARCH_MAX_BYTES": "1000"}
    loaded = settings.validate(MINIMAL, environ)
    assert (loaded.idle_timeout, loaded.home, loaded.search.max_bytes) == (7.0, Path("/tmp/somewhere"), 1000)


def test_an_empty_variable_counts_as_absent() -> None:
    assert settings.validate(MINIMAL, {"IDLE_TIMEOUT": ""}).idle_timeout == 300


def test_flags_of_the_environment_are_real_booleans() -> None:
    assert settings.validate(MINIMAL, {"VOICE_ENABLED": "0"}).voice_enabled is False
    assert settings.validate(MINIMAL, {"VOICE_ENABLED": "false"}).voice_enabled is False


def test_keys_are_split_at_commas_joined_with_the_older_variables_and_never_shown() -> None:
    loaded = settings.validate(MINIMAL, {"ATELIER_API_KEYS": "one, two", "GATEWAY_API_KEY": "three", "API_KEY": "four"})
    assert [key.get_secret_value() for key in loaded.api_keys] == ["one", "two", "three"]
    assert [key.get_secret_value() for key in loaded.admin_keys] == ["four"]
    assert "three" not in repr(loaded)


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


def test_an_unknown_engine_lists_the_engines() -> None:
    text = mistake({"models": {"clip": {"engine": "clap", "checkpoint": "x"}}})
    assert text.startswith("models.clip.engine: 'clap':")
    assert ", clip" in text


def test_a_missing_checkpoint_key_is_named() -> None:
    assert mistake({"models": {"clip": {"engine": "clip"}}}) == "models.clip.checkpoint: is missing"


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
        mistake({**MINIMAL, "routes": {"gpt-*": "vlm"}}) == "routes.gpt-*: 'vlm' is no alias of models; allowed: clip"
    )


def test_a_default_of_another_kind_is_refused() -> None:
    assert "kind clip" in mistake({**MINIMAL, "default_models": {"image": "clip"}})


def test_search_without_its_embedder_is_refused_unless_search_is_off() -> None:
    only_voice = {"models": {"voice": {"engine": "espeak", "checkpoint": "builtin:voice"}}}
    assert "search.embedder" in mistake(only_voice)
    assert settings.validate(only_voice, {"IMAGE_SEARCH_ENABLED": "0"}).image_search_enabled is False


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


BUCKET = {
    "R2_ENABLED": "1",
    "R2_ACCOUNT_ID": "abc123",
    "R2_ACCESS_KEY_ID": "an-id",
    "R2_SECRET_ACCESS_KEY": "a-secret",
    "R2_BUCKET_NAME": "pictures",
}


def test_a_bucket_is_reached_at_its_account_or_at_the_endpoint_that_is_named() -> None:
    assert settings.validate(MINIMAL, BUCKET).r2.endpoint == "https://abc123.r2.cloudflarestorage.com"
    named = settings.validate(MINIMAL, {**BUCKET, "R2_ENDPOINT_URL": "http://127.0.0.1:9000"})
    assert named.r2.endpoint == "http://127.0.0.1:9000"
    assert "a-secret" not in repr(named)
    assert "an-id" not in repr(named)


@pytest.mark.parametrize("name", ["R2_ACCOUNT_ID", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME"])
def test_a_bucket_with_a_value_missing_is_refused_by_its_name_unless_it_is_off(name: str) -> None:
    text = mistake(MINIMAL, {**BUCKET, name: ""})
    assert text.startswith("r2: with R2_ENABLED=1 these are needed too: ")
    assert name in text
    assert "a-secret" not in text
    assert settings.validate(MINIMAL, {**BUCKET, name: "", "R2_ENABLED": "0"}).r2.enabled is False


def test_the_bearer_token_is_never_shown() -> None:
    assert "a-token" not in repr(settings.validate(MINIMAL, {"BEARER_TOKEN": "a-token"}))
    assert mistake({**MINIMAL, "bearer_token": 12345}) == "bearer_token: input should be a valid string"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "FILES_MAX_AGE_DAYS",
            "0",
            "files.max_age_days (from FILES_MAX_AGE_DAYS): '0': input should be greater than 0",
        ),
        ("FILES_MAX_BYTES", "-1", "files.max_bytes (from FILES_MAX_BYTES): '-1': input should be greater than 0"),
        ("ATELIER_TIMEZONE", "Mars/Base", "timezone (from ATELIER_TIMEZONE): 'Mars/Base': neither an offset such as"),
        ("ATELIER_TIMEZONE", "+25:00", "timezone (from ATELIER_TIMEZONE): '+25:00': neither an offset such as"),
        (
            "ATELIER_TRUSTED_PROXIES",
            "10.0.0.1,proxy",
            "trusted_proxies.1 (from ATELIER_TRUSTED_PROXIES): 'proxy': value",
        ),
        ("IMAGE_REMOTE_PREFIX", "../", "image_prefix (from IMAGE_REMOTE_PREFIX): '../': folder names that each end in"),
        ("IMAGE_REMOTE_PREFIX", "AI", "image_prefix (from IMAGE_REMOTE_PREFIX): 'AI': folder names that each end in"),
        ("FILE_SERVER", "files:8010", "file_server (from FILE_SERVER): 'files:8010': string should match pattern"),
    ],
)
def test_a_wrong_variable_of_the_files_is_named_with_what_is_allowed(name: str, value: str, said: str) -> None:
    assert mistake(MINIMAL, {name: value}).startswith(said)


def test_files_are_kept_for_a_month_and_up_to_ten_gibibytes_in_times_of_seoul() -> None:
    loaded = settings.validate(MINIMAL, {})
    assert (loaded.files.max_age_days, loaded.files.max_bytes) == (30, 10 * 2**30)
    assert settings.time_zone(loaded.timezone).utcoffset(None) == timedelta(hours=9)
    assert (loaded.public_files, loaded.trusted_proxies, loaded.r2.enabled) == (True, (), False)


def test_an_empty_key_would_let_everybody_in_and_is_refused() -> None:
    assert mistake({**MINIMAL, "api_keys": [""]}).startswith("api_keys.0: ")


def test_an_alias_may_not_be_a_deployment_of_the_servers_own() -> None:
    models = {**MINIMAL["models"], "search": MINIMAL["models"]["clip"]}
    assert mistake({"models": models}) == "models.search: this name is the server's own; choose another alias"


def test_a_task_needs_a_model_that_answers() -> None:
    assert mistake({**MINIMAL, "tasks": {"ocr": "clip"}}) == "tasks.ocr: 'clip' is a model of kind clip, not vlm"


def test_the_home_folder_is_found_in_every_path() -> None:
    loaded = settings.validate(MINIMAL, {"IMAGE_SEARCH_DB_PATH": "~/index.db", "IMAGE_SEARCH_FILES_DIR": "~/files"})
    assert loaded.search.database_in(loaded.folder) == Path.home() / "index.db"
    assert loaded.search.files_in(loaded.folder) == Path.home() / "files"


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
    assert text == "prompts.alias: 'vlm' is no alias of models; allowed: clip"


def test_room_for_kept_answers_is_no_negative_number() -> None:
    assert mistake(MINIMAL, {"ATELIER_IDEMPOTENCY_MAX_BYTES": "-1"}).startswith(
        "idempotency_max_bytes (from ATELIER_IDEMPOTENCY_MAX_BYTES): '-1'"
    )


@pytest.mark.parametrize(
    "variable", ["ATELIER_API_KEYS", "ATELIER_ADMIN_KEYS", "GATEWAY_API_KEY", "API_KEY", "BEARER_TOKEN"]
)
@pytest.mark.parametrize("others", [{}, {"GATEWAY_API_KEY": "one", "API_KEY": "two"}])
def test_a_blank_key_would_let_everybody_in_and_is_refused(variable: str, others: dict[str, str]) -> None:
    text = mistake(MINIMAL, {**others, variable: "  "})
    assert f" (from {variable}): a key is needed, and this one is blank" in text


@pytest.mark.parametrize("variable", ["ATELIER_API_KEYS", "ATELIER_ADMIN_KEYS"])
def test_a_list_of_keys_with_none_in_it_is_refused(variable: str) -> None:
    for others in ({}, {"GATEWAY_API_KEY": "one", "API_KEY": "two"}):
        assert f" (from {variable}): a key is needed" in mistake(MINIMAL, {variable: " , ", **others})
    assert mistake({**MINIMAL, "api_keys": ","}).startswith("api_keys.0: a key is needed")
    assert settings.validate(MINIMAL, {variable: "one,"}) != settings.validate(MINIMAL, {})


def test_spaces_around_a_key_are_not_part_of_it() -> None:
    (key,) = settings.validate(MINIMAL, {"API_KEY": " four\n"}).admin_keys
    assert key.get_secret_value() == "four"


@pytest.mark.parametrize("prefix", ["/abs/", "../x/", "AI/SEARCH", "a//b/"])
def test_the_prefix_of_search_is_folders(prefix: str) -> None:
    said = f"search.prefix (from IMAGE_SEARCH_REMOTE_PREFIX): {prefix!r}: folder names that each end in /"
    assert mistake(MINIMAL, {"IMAGE_SEARCH_REMOTE_PREFIX": prefix}).startswith(said)
    assert settings.validate({**MINIMAL, "search": {"prefix": ""}}, {}).search.prefix == ""


@pytest.mark.parametrize("variable", ["IMAGE_REMOTE_PREFIX", "VOICE_REMOTE_PREFIX", "IMAGE_SEARCH_REMOTE_PREFIX"])
@pytest.mark.parametrize("room", [stores.uploads.ROOM, stores.voices.ROOM])
def test_no_prefix_leads_into_a_part_of_the_store_that_is_the_servers_own(variable: str, room: str) -> None:
    for prefix in (room, room.upper(), f"{room}mine/"):
        text = mistake(MINIMAL, {variable: prefix})
        assert f" (from {variable}): {prefix!r}: the server keeps things of its own in uploads/ and voices/" in text
    settings.validate(MINIMAL, {variable: f"AI/{room}"})


@pytest.mark.parametrize("variable", ["ATELIER_HOME", "IMAGE_SEARCH_DB_PATH", "IMAGE_SEARCH_FILES_DIR"])
def test_a_folder_of_a_user_whom_nobody_knows_is_refused(variable: str) -> None:
    text = mistake(MINIMAL, {variable: "~nosuchuser/x"})
    assert f" (from {variable}): '~nosuchuser/x': whose home ~ stands for is not known here" in text


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


def test_captions_are_remembered_in_memory_for_a_day_unless_a_redis_is_named() -> None:
    cache = settings.validate(MINIMAL, {}).cache
    assert (cache.url, cache.ttl_seconds) == (None, 86400)
    assert settings.validate(MINIMAL, {"REDIS_PORT": "7000"}).cache.url is None


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"REDIS_HOST": "cache.local"}, "redis://cache.local:6379/0"),
        ({"REDIS_HOST": "::1", "REDIS_PORT": "7000", "REDIS_DB": "2"}, "redis://[::1]:7000/2"),
        ({"REDIS_URL": "rediss://me:p%40ss@cache:6380/1", "REDIS_HOST": "other"}, "rediss://me:p%40ss@cache:6380/1"),
        ({"REDIS_URL": "unix:///run/redis.sock?db=2"}, "unix:///run/redis.sock?db=2"),
    ],
)
def test_a_redis_is_named_by_its_url_or_by_host_port_and_database(environ: dict[str, str], url: str) -> None:
    loaded = settings.validate(MINIMAL, {**environ, "CACHE_TTL_SECONDS": "60"}).cache
    assert loaded.url is not None
    assert (loaded.url.get_secret_value(), loaded.ttl_seconds) == (url, 60)
    assert "p%40ss" not in repr(loaded)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://cache:s3cret@cache/0",
        "redis://:s3cret@",
        "redis://:s3cret@cache:port/0",
        "redis://:s3cret@cache:70000/0",
        "redis://:s3cret@cache/first",
        "redis://:s3cret/7@cache/0",
        "redis://:s3cret@cache/0?tiemout=3",
        "redis://:s3cret@cache/0?socket_timeout=s3cret",
    ],
)
def test_a_url_that_leads_to_no_redis_is_refused_without_its_password(url: str) -> None:
    text = mistake(MINIMAL, {"REDIS_URL": url})
    assert text.startswith("cache.redis_url (from REDIS_URL): redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]")
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("REDIS_HOST", "redis://cache", "cache.redis_host"),
        ("REDIS_PORT", "0", "cache.redis_port"),
        ("REDIS_DB", "-1", "cache.redis_db"),
        ("CACHE_TTL_SECONDS", "0", "cache.ttl_seconds"),
    ],
)
def test_a_wrong_variable_of_the_cache_is_named(variable: str, value: str, key: str) -> None:
    assert mistake(MINIMAL, {variable: value}).startswith(f"{key} (from {variable}): '{value}': ")


def test_what_the_caption_routes_ask_stands_in_a_models_entry() -> None:
    def entry(**caption: str) -> dict[str, Any]:
        blip = {"engine": "captioner", "checkpoint": "builtin:blip", "caption": caption}
        return {"models": {**MINIMAL["models"], "blip": blip}}

    assert settings.validate(entry(prompt="a photo of"), {}).models["blip"].caption.prompt == "a photo of"
    assert mistake(entry(propmt="a")).startswith("models.blip.caption.propmt: unknown key; allowed here: prompt,")
    assert mistake(entry(prompt="")).startswith("models.blip.caption.prompt: '': ")


@pytest.mark.parametrize("url", ["mysql://u:secret@host/db", "host/db", "postgresql://u:se cret@host/db?nonsense=1"])
def test_a_database_that_is_no_postgresql_is_refused_without_repeating_its_password(url: str) -> None:
    text = mistake(MINIMAL, {"SEARCH_DATABASE_URL": url})
    assert text.startswith("search.database_url (from SEARCH_DATABASE_URL): postgresql://[USER[:PASSWORD]@]HOST")
    assert "cret" not in text


def test_several_search_replicas_need_a_database_that_they_can_share() -> None:
    args = {**MINIMAL, "search": {"replicas": 2}}
    assert "replicas: 2 search replicas need database_url (SEARCH_DATABASE_URL)" in mistake(args)
    shared = settings.validate(args, {"SEARCH_DATABASE_URL": "postgresql://u:p@host/db"})
    assert shared.search.replicas == 2
    assert "u:p" not in repr(shared)


def test_keys_are_kept_in_the_home_folder_unless_another_file_is_named() -> None:
    assert settings.validate(MINIMAL, {"ATELIER_HOME": "/srv/atelier"}).keys_path == Path("/srv/atelier/keys.json")
    assert settings.validate(MINIMAL, {"ATELIER_KEYS_FILE": "~/own.json"}).keys_path == Path.home() / "own.json"


def test_nothing_is_limited_unless_it_is_set_in_the_file_or_the_environment() -> None:
    assert settings.validate(MINIMAL, {}).limits == Limits()
    args = {**MINIMAL, "limits": {"rate": "60/minute", "concurrency": 4}}
    assert settings.validate(args, {"ATELIER_RATE": "5/second"}).limits == Limits(rate="5/second", concurrency=4)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "ATELIER_RATE",
            "often",
            "limits.rate (from ATELIER_RATE): 'often': a number of requests in a second, minute,",
        ),
        ("ATELIER_CONCURRENCY", "0", "limits.concurrency (from ATELIER_CONCURRENCY): '0': input should be greater"),
    ],
)
def test_a_limit_that_is_none_is_named_with_what_is_allowed(variable: str, value: str, said: str) -> None:
    assert mistake(MINIMAL, {variable: value}).startswith(said)
