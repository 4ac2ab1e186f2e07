"""The image search routes over the real app and index, in process."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from ray import serve

import settings as configuration
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.search_calls import SearchCalls
from deployments.ingress.dependencies import Atelier
from deployments.search.deployment import Model, Search
from deployments.storage import open_index, open_store
from stores.objects import FileStore
from tests.deployments.search.searching import COLOUR_EMBEDDER, COLOURS, ColourEmbedder, picture

NOBODY = "00000000-0000-4000-8000-000000000000"
TREES = ["/v1/images", "/v1/projects/p/images"]
ARGS = {"models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip"}}, "image_enabled": False}


@pytest.fixture
async def http(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"ATELIER_HOME": str(tmp_path), "IMAGE_SEARCH_MAX_BYTES": "100000", **getattr(request, "param", {})}
    settings = configuration.validate(ARGS, environment)
    search = serve.deployment(Search).bind(
        partial(open_store, settings),
        partial(open_index, settings, COLOUR_EMBEDDER),
        COLOUR_EMBEDDER,
        serve.deployment(ColourEmbedder).bind(),
        Model("clip", 60),
    )
    handle = serve.run(search, name="search", _local_testing_mode=True)
    calls = ModelCalls(settings, {})
    search_calls = SearchCalls(settings, handle, calls.known, calls.metrics)
    app = create_app(Atelier(settings, calls, FileStore(tmp_path / "files"), search_calls))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
    await handle.close.remote()


def fault(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    assert error["detail"] == error["message"]
    return answer.status_code, error["code"], error["param"]


async def upload(http: httpx.AsyncClient, tree: str, name: str) -> dict[str, Any]:
    answer = await http.post(tree, files={"file": (f"{name}.png", picture(COLOURS[name]), "text/plain")})
    record: dict[str, Any] = answer.raise_for_status().json()
    return record


@pytest.mark.parametrize("tree", TREES)
async def test_an_image_is_added_listed_found_fetched_and_deleted(http: httpx.AsyncClient, tree: str) -> None:
    red = await upload(http, tree, "red")
    blue = await upload(http, tree, "blue")
    assert list(red) == ["project_id", "id", "r2_key", "original_filename", "content_type", "size_bytes", "width",
                         "height", "created_at", "dominant_color", "sha256"]  # fmt: skip
    assert red["project_id"] == ("p" if "projects" in tree else "default")
    assert await upload(http, tree, "red") == red | {"duplicate": True}
    assert (await http.get(f"{tree}/{red['id'].upper()}")).json() == red
    assert (await http.get(tree)).json() == {"images": [red, blue], "has_more": False, "next": None}
    page = (await http.get(tree, params={"limit": 1})).json()
    assert (page["images"], page["has_more"]) == ([red], True)
    assert (await http.get(tree, params={"limit": 1, "after": page["next"]})).json()["images"] == [blue]

    url = "data:image/png;base64," + base64.b64encode(picture((200, 10, 10))).decode()
    for body in ({"query": "red"}, {"image": url}, {"image_id": red["id"]}):
        results = (await http.post(f"{tree}/search", json=body)).json()["results"]
        assert [result["id"] for result in results] == [red["id"], blue["id"]]
        assert results[0] == red | {"score": pytest.approx(1, abs=0.01)}
        fewer = (await http.post(f"{tree}/search", json={**body, "min_score": 0.9, "limit": 100})).json()["results"]
        assert fewer == results[:1]

    sent = await http.get(f"{tree}/{red['id']}/file")
    assert sent.status_code == 307
    got = await http.get(sent.headers["location"])
    assert got.content == picture(COLOURS["red"])
    assert got.headers["content-type"] == "image/png"

    deleted = await http.delete(f"{tree}/{red['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert fault(await http.get(f"{tree}/{red['id']}")) == (404, "NOT_FOUND", None)
    assert (await http.get(sent.headers["location"])).status_code == 404
    assert (await http.get(tree)).json()["images"] == [blue]


async def test_the_two_trees_are_one_store(http: httpx.AsyncClient) -> None:
    red = await upload(http, "/v1/images", "red")
    assert (await http.get(f"/v1/projects/default/images/{red['id']}")).json() == red
    await upload(http, "/v1/projects/p/images", "blue")
    listed = (await http.get("/v1/projects")).json()["projects"]
    assert [(project["project_id"], project["image_count"]) for project in listed] == [("default", 1), ("p", 1)]
    assert (await http.delete("/v1/projects/p")).status_code == 204
    assert fault(await http.get("/v1/projects/p/images")) == (404, "PROJECT_NOT_FOUND", None)
    assert fault(await http.delete("/v1/projects/p")) == (404, "PROJECT_NOT_FOUND", None)
    assert (await http.delete("/v1/projects/default")).status_code == 204
    assert (await http.get("/v1/images")).json()["images"] == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"", (400, "EMPTY_FILE", "file")),
        (b"hello", (400, "INVALID_IMAGE", "file")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", (400, "INVALID_IMAGE", "file")),
        (picture((1, 2, 3))[:-30], (400, "INVALID_IMAGE", "file")),
        (bytes(100_001), (413, "FILE_TOO_LARGE", "file")),
        (bytes(3_000_000), (413, "FILE_TOO_LARGE", "file")),
    ],
)
async def test_a_file_that_cannot_be_kept_is_refused_with_its_code(
    http: httpx.AsyncClient, file: bytes, expected: tuple[int, str, str]
) -> None:
    assert fault(await http.post("/v1/projects/p/images", files={"file": ("a.png", file)})) == expected
    assert len((await http.get("/v1/projects")).json()["projects"]) == 1


async def test_form_fields_that_do_not_belong_are_refused(http: httpx.AsyncClient) -> None:
    files = {"file": ("a.png", picture((1, 2, 3)))}
    slip = await http.post("/v1/images", files=files, data={"files": "x"})
    assert fault(slip) == (400, "unsupported_parameter", "files")
    missing = await http.post("/v1/images", files={"image": picture((1, 2, 3))})
    assert fault(missing)[0] == 400
    assert fault(await http.post("/v1/images", data={"file": "text"})) == (400, "invalid_type", "file")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "query"),
        ({"query": None}, "missing_required_parameter", "query"),
        ({"query": "red", "image_id": NOBODY}, "invalid_value", "image_id"),
        ({"query": ""}, "string_below_min_length", "query"),
        ({"query": "x" * 2001}, "string_above_max_length", "query"),
        ({"query": "red", "limit": 0}, "integer_below_min_value", "limit"),
        ({"query": "red", "limit": 101}, "integer_above_max_value", "limit"),
        ({"query": "red", "limit": "5"}, "invalid_type", "limit"),
        ({"query": "red", "min_score": 1.5}, "integer_above_max_value", "min_score"),
        ({"query": "red", "limits": 5}, "unsupported_parameter", "limits"),
        ({"image_id": "7"}, "INVALID_ID", "image_id"),
        ({"image": "data:image/png;base64,aGVsbG8="}, "INVALID_IMAGE", "image"),
        ({"image": "data:image/png;base64,***"}, "invalid_base64", "image"),
        ({"image": "https://example.com/a.png"}, "invalid_value", "image"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, body: dict[str, object], code: str, param: str
) -> None:
    assert fault(await http.post("/v1/images/search", json=body)) == (400, code, param)


async def test_unknown_and_impossible_names_are_told_apart(http: httpx.AsyncClient) -> None:
    await upload(http, "/v1/projects/p/images", "red")
    for name, expected in (
        (NOBODY, (404, "NOT_FOUND", None)),
        ("7", (400, "INVALID_ID", "image_id")),
        (NOBODY.replace("-", ""), (400, "INVALID_ID", "image_id")),
    ):
        for tree in TREES:
            assert fault(await http.get(f"{tree}/{name}")) == expected
            assert fault(await http.get(f"{tree}/{name}/file")) == expected
            assert fault(await http.delete(f"{tree}/{name}")) == expected
    for path in (f"q/images/{NOBODY}", "q/images", f"q/images?after={NOBODY}"):
        assert fault(await http.get(f"/v1/projects/{path}")) == (404, "PROJECT_NOT_FOUND", None)
    for name in (".q", "%20", "a%0A", "x" * 129, "ü"):
        assert fault(await http.get(f"/v1/projects/{name}/images")) == (400, "INVALID_PROJECT", "project_id")
    assert fault(await http.get("/v1/images?after=x")) == (400, "INVALID_ID", "after")
    assert fault(await http.get(f"/v1/images?after={NOBODY}")) == (404, "NOT_FOUND", None)
    assert fault(await http.get("/v1/images?limits=1")) == (400, "unsupported_parameter", "limits")
    assert fault(await http.get("/v1/images?limit=1001")) == (400, "integer_above_max_value", "limit")


async def test_a_name_of_another_route_is_no_image_id(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/images/search"), ("DELETE", "/v1/images/generations")):
        answer = await http.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"


async def test_all_methods_of_a_path_are_named_however_many_routes_they_are(http: httpx.AsyncClient) -> None:
    for path, allowed in (("/v1/images", "GET, HEAD, POST"), (f"/v1/images/{uuid.uuid4()}", "DELETE, GET, HEAD")):
        answer = await http.put(path)
        assert fault(answer) == (405, "method_not_supported", None)
        assert answer.headers["allow"] == allowed
        assert allowed in answer.json()["error"]["message"]


async def test_a_signed_file_is_served_safely_and_only_while_its_signature_holds(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    red = await upload(http, "/v1/images", "red")
    location = (await http.get(f"/v1/images/{red['id']}/file")).headers["location"]
    assert location.startswith("http://test/files/AI/SEARCH/default/images/")
    path, query = urlsplit(location).path, urlsplit(location).query
    got = await http.get(location)
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    part = await http.get(location, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert (await http.head(location)).headers["content-length"] == str(red["size_bytes"])
    for wrong in (path, f"{path}?{query}0", f"{path}?{query.replace('expires=', 'expires=9')}", f"/files/x?{query}"):
        answer = await http.get(wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invalid_signature")

    store = FileStore(tmp_path / "files")
    store.put("page.svg", b"<svg/>")
    for key, expires, status in (("page.svg", 2**33, 200), ("page.svg", 1, 403), ("../search", 2**33, 400)):
        answer = await http.get(f"/files/{key.replace('..', '%2E%2E')}?{store.sign(key, expires)}")
        assert answer.status_code == status
        if status == 200:
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize("http", [{"IMAGE_SEARCH_ENABLED": "0"}], indirect=True)
async def test_routes_that_are_switched_off_say_so(http: httpx.AsyncClient) -> None:
    for path in ("/v1/images", "/v1/projects", f"/v1/projects/p/images/{NOBODY}"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "feature_disabled")


@pytest.mark.parametrize("http", [{"ATELIER_API_KEYS": "ann,bob", "ATELIER_ADMIN_KEYS": "root"}], indirect=True)
async def test_pictures_are_every_keys_and_a_project_is_an_admins_to_delete(http: httpx.AsyncClient) -> None:
    tree = "/v1/projects/p/images"
    http.headers["X-API-Key"] = "ann"
    red, blue = await upload(http, tree, "red"), await upload(http, tree, "blue")
    http.headers["X-API-Key"] = "bob"
    assert (await http.get(tree)).json()["images"] == [red, blue]
    assert (await http.delete(f"{tree}/{red['id']}")).status_code == 204
    assert fault(await http.delete("/v1/projects/p"))[:2] == (403, "forbidden")
    assert (await http.get(tree)).json()["images"] == [blue]
    http.headers["X-API-Key"] = "root"
    assert (await http.delete("/v1/projects/p")).status_code == 204


@pytest.mark.parametrize(
    ("body", "param"),
    [(b'{"delete": "perhaps"}', "delete"), (b'{"delet": true}', "delet"), (b"delete", None), (b"[true]", None)],
)
async def test_a_collection_of_garbage_does_what_its_body_says_or_nothing(
    http: httpx.AsyncClient, tmp_path: Path, body: bytes, param: str | None
) -> None:
    record = await upload(http, TREES[1], "red")
    orphan = record["r2_key"].replace(record["id"], NOBODY)
    FileStore(tmp_path / "files").put(orphan, b"of no record")
    headers = {"Content-Type": "application/json"}
    refused = await http.post("/api/admin/search/gc", content=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    found = (await http.post("/api/admin/search/gc", json={})).json()
    assert (found["orphans"], found["deleted"]) == ([orphan], 0)


async def test_a_picture_of_one_column_is_added_and_found_by_itself(http: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1, 8000), "green").save(file, "PNG")
    record = (await http.post(TREES[1], files={"file": ("thin.png", file.getvalue())})).raise_for_status().json()
    assert (record["width"], record["height"]) == (1, 8000)
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    found = (await http.post(f"{TREES[1]}/search", json={"image": url})).raise_for_status().json()
    assert found["results"][0]["id"] == record["id"]
    small = await http.get(f"{TREES[1]}/{record['id']}/thumbnail")
    assert (small.status_code, small.headers["content-type"]) == (200, "image/webp")
