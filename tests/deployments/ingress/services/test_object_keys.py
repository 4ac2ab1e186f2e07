"""Keys that clients choose."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import settings as configuration
from deployments.ingress.errors import ApiError
from deployments.ingress.services.object_keys import image_key, voice_key
from settings import Settings
from tests.deployments.apps import ARGS


def settings(**environ: str) -> Settings:
    return configuration.validate(ARGS, environ)


@pytest.mark.parametrize("key", ["a.png", "images/generated/mine.png", "AI/IMAGES/a.png", "my uploads/한.png"])
def test_a_key_of_ones_own_is_taken_as_it_is(key: str) -> None:
    assert image_key(key, settings()) == key


def test_a_key_begins_with_the_routes_prefix() -> None:
    prefixed = settings(IMAGE_REMOTE_PREFIX="AI/IMAGES/")
    assert image_key("AI/IMAGES/a.png", prefixed) == "AI/IMAGES/a.png"
    for key in ("a.png", "AI/IMAGES", "AI/IMAGES/../a.png", "ai/images/a.png", "/AI/IMAGES/a.png"):
        with pytest.raises(ApiError):
            image_key(key, prefixed)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "../a", "a/../b", "a//b", "a\\b", "a\0", "\ud800", ".incoming/a", "x" * 256,
     "image_search.db", "Image_Search.DB", "image_search.db.1", "old/image_search.db-previous", "image_search.db/x",
     "AI/SEARCH/p/images/1.png", "ai/search/x", "AI", "AI/SEARCH", "uploads", "uploads/latest.json", "Uploads/i/x",
     "images", "images/generated", "AI/VOICE/alice.mp3", "ai/voice", "voices", "voices/made/x.json",
     "voice/refs/ref.mp3", "Voice", ".owners", ".owners/a.png", "x/" * 510 + "a"],
)  # fmt: skip
def test_what_is_not_the_clients_to_write_is_refused(key: str) -> None:
    with pytest.raises(ApiError) as caught:
        image_key(key, settings())
    answer = caught.value
    assert (answer.status, answer.code, answer.param) == (400, "INVALID_KEY", "key")


@pytest.mark.parametrize("key", ["AI/VOICE/ann.mp3", "voice/refs/ref.mp3", "voice/generated/hello.mp3"])
def test_a_recording_is_under_the_prefix_or_where_older_clients_keep_it(key: str) -> None:
    assert voice_key(key, settings()) == key


@pytest.mark.parametrize(
    "key",
    ["ann.mp3", "voices/made/x.flac", "voice", "voice/generated", "AI/VOICE/../a.mp3", "Voice/a.mp3", "images/a.mp3",
     "voice/../uploads/i/x.png", "voice/image_search.db"],
)  # fmt: skip
def test_what_is_no_clients_recording_is_refused(key: str) -> None:
    with pytest.raises(ApiError) as caught:
        voice_key(key, settings(), "ref_audio_key")
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "INVALID_KEY", "ref_audio_key")


def test_the_backup_has_the_name_that_is_configured() -> None:
    renamed = settings(IMAGE_SEARCH_DB_R2_KEY="backups/index.db")
    assert image_key("image_search.db", renamed) == "image_search.db"
    for key in ("backups/index.db", "BACKUPS/index.db.2"):
        with pytest.raises(ApiError, match="names a backup"):
            image_key(key, renamed)


def test_pictures_of_image_search_are_kept_apart_even_without_a_prefix_of_theirs() -> None:
    without = configuration.validate({**ARGS, "search": {"prefix": ""}}, {})
    for key in ("p/images/1.png", "p/images", "p"):
        with pytest.raises(ApiError, match="image search"):
            image_key(key, without)
    assert image_key("mine/a.png", without) == "mine/a.png"


@given(st.text(st.sampled_from("aAI/.SEARCHuploads~\\"), max_size=30))
def test_no_key_that_is_let_through_leads_into_a_place_of_the_servers_own(key: str) -> None:
    try:
        taken = image_key(key, settings())
    except ApiError:
        return
    path = (Path("/store") / taken).as_posix().casefold()
    assert Path(path).is_relative_to("/store")
    assert not path.startswith(("/store/ai/search/", "/store/uploads/"))
