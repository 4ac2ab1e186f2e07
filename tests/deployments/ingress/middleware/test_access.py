"""Keys of a file beside those of the configuration: who is let in, for how long, and whose things are whose."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from deployments.ingress.middleware import access
from deployments.ingress.middleware.access import Access
from stores.api_keys import ApiKeyFile, Limits
from stores.errors import StoreUnusable
from tests.deployments.apps import client, fault, make_app, settings_of


@pytest.fixture
def file(tmp_path: Path) -> ApiKeyFile:
    return ApiKeyFile(tmp_path / "keys.json")


@pytest.fixture(autouse=True)
def _always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is looked at with each request; that a second passes in between is seen in tests/api/test_keys.py."""
    monkeypatch.setattr(access, "_LOOK_SECONDS", 0.0)


@asynccontextmanager
async def serving(home: Path, **environ: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(make_app(home, environ)) as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def status(http: httpx.AsyncClient, key: str = "", path: str = "/docs", method: str = "GET") -> int:
    return (await http.request(method, path, headers=bearer(key) if key else {})).status_code


async def test_the_first_key_closes_a_server_that_was_open(tmp_path: Path, file: ApiKeyFile) -> None:
    async with serving(tmp_path) as http:
        assert await status(http, "anything") == 200
        key = file.add("phone", Limits())
        assert fault(await http.get("/docs", headers=bearer("anything"))) == (401, "invalid_api_key", None)
        assert await status(http) == 401
        assert await status(http, key) == 200
        assert (await http.get("/docs", headers={"X-API-Key": key})).status_code == 200
        assert await status(http, path="/healthz") == 200


async def test_a_revoked_key_is_worthless_and_the_last_one_leaves_the_server_closed(
    tmp_path: Path, file: ApiKeyFile
) -> None:
    first, last = file.add("first", Limits()), file.add("last", Limits())
    async with serving(tmp_path) as http:
        file.revoke("first")
        assert (await status(http, first), await status(http, last)) == (401, 200)
        file.revoke("last")
        assert (await status(http, first), await status(http, last), await status(http)) == (401, 401, 401)
    async with serving(tmp_path) as http:
        assert await status(http) == 401, "the file is there, although no key is in it"


async def test_a_file_that_is_removed_takes_its_keys_along_and_opens_nothing(tmp_path: Path, file: ApiKeyFile) -> None:
    key = file.add("phone", Limits())
    async with serving(tmp_path) as http:
        file.path.unlink()
        assert (await status(http, key), await status(http)) == (401, 401)
    async with serving(tmp_path) as http:
        assert await status(http) == 200, "removing the file and restarting the server opens it"


async def test_a_file_that_is_named_closes_the_server_before_it_is_there(tmp_path: Path) -> None:
    async with serving(tmp_path, ATELIER_KEYS_FILE=str(tmp_path / "own.json")) as http:
        assert await status(http) == 401
        assert await status(http, ApiKeyFile(tmp_path / "own.json").add("phone", Limits())) == 200


async def test_keys_of_the_configuration_and_of_the_file_are_valid_side_by_side(
    tmp_path: Path, file: ApiKeyFile
) -> None:
    key, boss = file.add("phone", Limits()), file.add("boss", Limits(), admin=True)
    environ = {"ATELIER_API_KEYS": "user", "ATELIER_ADMIN_KEYS": "admin", "BEARER_TOKEN": "latest"}
    evict = {"path": "/v1/system/evict/clip", "method": "POST"}
    async with serving(tmp_path, **environ) as http:
        assert [await status(http, each) for each in ("user", key, "admin", boss)] == [200] * 4
        assert [await status(http, each, **evict) for each in ("user", key)] == [403] * 2
        assert [await status(http, each, **evict) == 403 for each in ("admin", boss)] == [False] * 2
        assert [await status(http, each, "/latest") for each in ("latest", key, "wrong", "")] == [404, 404, 403, 401]
        assert await status(http, "latest") == 401


@pytest.mark.parametrize("damage", ["{", '{"keys": 5}', ""])
async def test_damage_done_while_the_server_runs_leaves_the_last_good_keys_and_is_reported_once(
    tmp_path: Path, file: ApiKeyFile, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = file.add("phone", Limits())
    good = file.path.read_text()
    async with serving(tmp_path) as http:
        file.path.write_text(damage)
        with caplog.at_level(logging.ERROR, "ray.serve"):
            for _ in range(3):
                assert (await status(http, key), await status(http)) == (200, 401)
        (told,) = caplog.messages
        assert told.startswith(f"the file of API keys {file.path} is damaged (")
        file.path.write_text(good)
        second = file.add("second", Limits())
        assert await status(http, second) == 200


@pytest.mark.parametrize("damage", ["{", '{"keys": 5}', ""])
def test_a_server_does_not_start_with_a_damaged_file(tmp_path: Path, file: ApiKeyFile, damage: str) -> None:
    file.path.write_text(damage)
    with pytest.raises(StoreUnusable, match="is damaged"):
        make_app(tmp_path)


async def test_no_key_and_no_digest_of_one_is_ever_logged(
    tmp_path: Path, file: ApiKeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    key, gone = file.add("phone", Limits()), file.add("gone", Limits())
    with caplog.at_level(logging.DEBUG):
        async with serving(tmp_path) as http:
            file.revoke("gone")
            for each in (key, gone, "a-wrong-key"):
                await status(http, each)
            file.path.write_text(file.path.read_text()[:-20])
            await status(http, key)
    assert "GET /docs 200" in caplog.text
    assert "is damaged" in caplog.text
    for secret in (key, gone, "a-wrong-key", hashlib.sha256(key.encode()).hexdigest()):
        assert secret not in caplog.text


def test_what_a_caller_makes_belongs_to_the_same_digest_wherever_the_key_is_kept(
    tmp_path: Path, file: ApiKeyFile
) -> None:
    """Voices are found by this digest, so a key that moves from the configuration into a file keeps them."""
    key = file.add("phone", Limits())
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    configured = Access(settings_of(tmp_path / "other", {"ATELIER_API_KEYS": key}))
    for kept in (Access(settings_of(tmp_path)), configured):
        assert kept.caller(Headers(bearer(key))).owner == digest
    assert Access(settings_of(tmp_path / "open")).caller(Headers(bearer(key))).owner == ""
