"""Image search, through HTTP: pictures in, words in, the right picture out."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, bomb, data_url, many_scenes, png, scene
from training.captions import full_caption


@pytest.fixture
def project(http: httpx.Client) -> str:
    return f"p-{uuid.uuid4().hex[:8]}"


def upload(http: httpx.Client, project: str, data: bytes, name: str = "picture.png") -> dict[str, Any]:
    answer = http.post(f"/v1/projects/{project}/images", files={"file": (name, data)})
    record: dict[str, Any] = answer.raise_for_status().json()
    return record


def search(http: httpx.Client, project: str, **body: Any) -> list[dict[str, Any]]:
    answer = http.post(f"/v1/projects/{project}/images/search", json=body)
    results: list[dict[str, Any]] = answer.raise_for_status().json()["results"]
    return results


def test_words_find_the_right_picture_in_three_languages(http: httpx.Client, project: str) -> None:
    scenes = many_scenes(30)
    ids = [upload(http, project, png(s))["id"] for s in scenes]
    for language in ("en", "ko", "ja"):
        found = 0
        for i in range(10):
            words = full_caption(scenes[i], np.random.default_rng(i), language)
            results = search(http, project, query=words, limit=3)
            assert [r["score"] for r in results] == sorted((r["score"] for r in results), reverse=True)
            found += ids[i] in [r["id"] for r in results]
        assert found >= 9, language


def test_a_record_says_everything_and_its_file_comes_back(http: httpx.Client, project: str) -> None:
    data = png(scene("star", "green", "white"))
    record = upload(http, project, data, "star of mine.png")
    assert record["project_id"] == project
    assert record["original_filename"] == "star of mine.png"
    assert (record["content_type"], record["size_bytes"]) == ("image/png", len(data))
    assert (record["width"], record["height"]) == (64, 64)
    assert record["r2_key"] == f"AI/SEARCH/{project}/images/{record['id']}.png"
    assert http.get(f"/v1/projects/{project}/images/{record['id']}").json() == record
    redirect = http.get(f"/v1/projects/{project}/images/{record['id']}/file")
    assert redirect.status_code == 307
    fetched = httpx.get(redirect.headers["location"])
    assert fetched.content == data
    assert fetched.headers["x-content-type-options"] == "nosniff"


def test_the_same_bytes_are_one_record(http: httpx.Client, project: str) -> None:
    first, second = upload(http, project, png()), upload(http, project, png())
    assert second["id"] == first["id"]
    assert second["duplicate"] is True
    assert len(http.get(f"/v1/projects/{project}/images").json()["images"]) == 1


def test_a_picture_finds_itself_by_its_bytes_and_by_its_id(http: httpx.Client, project: str) -> None:
    pictures = [png(s) for s in many_scenes(5)]
    ids = [upload(http, project, data)["id"] for data in pictures]
    assert search(http, project, image=data_url(pictures[2]), limit=1)[0]["id"] == ids[2]
    assert search(http, project, image_id=ids[3], limit=1)[0]["id"] == ids[3]
    assert search(http, project, image_id=ids[3], min_score=0.999)[0]["score"] == pytest.approx(1, abs=1e-3)


def test_a_deleted_picture_is_gone_everywhere(http: httpx.Client, project: str) -> None:
    record = upload(http, project, png())
    path = f"/v1/projects/{project}/images/{record['id']}"
    url = http.get(f"{path}/file").headers["location"]
    assert http.delete(path).status_code == 204
    assert fault(http.get(path)) == (404, "NOT_FOUND", None)
    assert fault(http.delete(path)) == (404, "NOT_FOUND", None)
    assert httpx.get(url).status_code == 404
    assert search(http, project, query="red circle") == []


def test_pages_hold_every_picture_once(http: httpx.Client, project: str) -> None:
    ids = [upload(http, project, png(s))["id"] for s in many_scenes(5)]
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = http.get(f"/v1/projects/{project}/images", params={"limit": "2", **after}).json()
        seen += [image["id"] for image in page["images"]]
        if not page["has_more"]:
            break
        after = {"after": page["next"]}
    assert seen == ids


def test_the_short_routes_are_the_default_project(http: httpx.Client) -> None:
    record = http.post("/v1/images", files={"file": png(scene("ring", "purple", "yellow"))}).json()
    assert record["project_id"] == "default"
    assert http.get(f"/v1/projects/default/images/{record['id']}").status_code == 200
    assert record["id"] in [image["id"] for image in http.get("/v1/images").json()["images"]]
    found = http.post("/v1/images/search", json={"query": "a purple ring on a yellow background"}).json()["results"]
    assert found[0]["id"] == record["id"]


def test_projects_are_listed_with_counts_and_deleted_whole(http: httpx.Client, project: str) -> None:
    upload(http, project, png())
    listed = {p["project_id"]: p["image_count"] for p in http.get("/v1/projects").json()["projects"]}
    assert listed[project] == 1
    assert http.delete(f"/v1/projects/{project}").status_code == 204
    assert fault(http.get(f"/v1/projects/{project}/images")) == (404, "PROJECT_NOT_FOUND", None)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "EMPTY_FILE"), (b"hello", "INVALID_IMAGE"), (SVG, "INVALID_IMAGE"), (TRUNCATED, "INVALID_IMAGE")],
)
def test_what_is_no_picture_is_refused_and_nothing_is_kept(http: httpx.Client, data: bytes, code: str) -> None:
    before = len(http.get("/v1/images").json()["images"])
    answer = http.post("/v1/images", files={"file": data})
    assert fault(answer)[:2] == (400, code)
    assert answer.json()["error"]["detail"]
    assert fault(http.post("/v1/images", files={"file": bomb()}))[:2] == (400, "INVALID_IMAGE")
    assert len(http.get("/v1/images").json()["images"]) == before


def test_too_many_bytes_are_413(http: httpx.Client) -> None:
    answer = http.post("/v1/images", files={"file": b"x" * (20 * 2**20 + 1)})
    assert fault(answer)[:2] == (413, "FILE_TOO_LARGE")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"query": ""}, "query"),
        ({"query": "a" * 2001}, "query"),
        ({"query": "a", "limit": 0}, "limit"),
        ({"query": "a", "limit": 101}, "limit"),
        ({"image": "data:image/png;base64,####"}, "image"),
    ],
)
def test_a_bad_search_is_a_400_that_names_the_field(
    http: httpx.Client, body: dict[str, Any], param: str | None
) -> None:
    status, _, named = fault(http.post("/v1/images/search", json=body))
    assert status == 400
    assert param is None or named == param


def test_bad_ids_foreign_ids_and_unknown_projects_have_their_codes(http: httpx.Client, project: str) -> None:
    record = upload(http, project, png())
    assert fault(http.get("/v1/images/not-an-id"))[:2] == (400, "INVALID_ID")
    assert fault(http.get(f"/v1/images/{uuid.uuid4()}"))[:2] == (404, "NOT_FOUND")
    assert fault(http.get(f"/v1/images/{record['id']}"))[:2] == (404, "NOT_FOUND")
    assert fault(http.get("/v1/projects/.hidden/images"))[:2] == (400, "INVALID_PROJECT")
    assert fault(http.get("/v1/projects/nobody-made-this/images"))[:2] == (404, "PROJECT_NOT_FOUND")
