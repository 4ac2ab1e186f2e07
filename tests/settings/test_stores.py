"""Where files, captions and the index are kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import settings
import stores.uploads
import stores.voices
from tests.settings.mistakes import MINIMAL, mistake

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


def test_the_home_folder_is_found_in_every_path() -> None:
    loaded = settings.validate(MINIMAL, {"IMAGE_SEARCH_DB_PATH": "~/index.db", "IMAGE_SEARCH_FILES_DIR": "~/files"})
    assert loaded.search.database_in(loaded.folder) == Path.home() / "index.db"
    assert loaded.search.files_in(loaded.folder) == Path.home() / "files"


def test_room_for_kept_answers_is_no_negative_number() -> None:
    assert mistake(MINIMAL, {"ATELIER_IDEMPOTENCY_MAX_BYTES": "-1"}).startswith(
        "idempotency_max_bytes (from ATELIER_IDEMPOTENCY_MAX_BYTES): '-1'"
    )


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


SHARED = {
    **BUCKET,
    "ATELIER_INGRESS_REPLICAS": "2",
    "REDIS_URL": "redis://127.0.0.1/0",
    "SEARCH_DATABASE_URL": "postgresql://127.0.0.1/atelier",
}


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"REDIS_URL": ""}, "no REDIS_URL (cache.redis_url); allowed without: 1"),
        ({"SEARCH_DATABASE_URL": ""}, "no SEARCH_DATABASE_URL (search.database_url); allowed without: 1"),
        ({"R2_ENABLED": "0"}, "no R2_ENABLED=1 (r2.enabled); allowed without: 1"),
        (
            {"REDIS_URL": "", "SEARCH_DATABASE_URL": "", "R2_ENABLED": ""},
            "no REDIS_URL (cache.redis_url), no SEARCH_DATABASE_URL (search.database_url), no R2_ENABLED=1 (r2.enabled); allowed without: 1",  # noqa: E501
        ),
    ],
)
def test_several_ingress_replicas_are_refused_without_what_they_share(missing: dict[str, str], said: str) -> None:
    text = mistake(MINIMAL, {**SHARED, **missing})
    assert text == f"ingress.replicas: 2 ingress replicas share what they know, for which there is {said}"


def test_several_ingress_replicas_share_and_one_has_files_and_memory_whatever_is_there() -> None:
    several = settings.validate({**MINIMAL, "ingress": {"replicas": 3}}, {**SHARED, "ATELIER_INGRESS_REPLICAS": ""})
    assert (several.shared_redis_url, several.shared_database_url) == (
        "redis://127.0.0.1/0", "postgresql://127.0.0.1/atelier",
    )  # fmt: skip
    assert several.keys_database_url == several.shared_database_url
    named = settings.validate(MINIMAL, {**SHARED, "ATELIER_KEYS_FILE": "/etc/atelier/keys.json"})
    assert named.keys_database_url is None
    one = settings.validate(MINIMAL, {**SHARED, "ATELIER_INGRESS_REPLICAS": "1"})
    assert (one.shared_redis_url, one.shared_database_url, one.keys_database_url) == (None, None, None)
    assert "'0': input should be greater than or equal to 1" in mistake(
        MINIMAL, {**SHARED, "ATELIER_INGRESS_REPLICAS": "0"}
    )
