"""What image search does beyond adding and finding, over HTTP: thumbnails, some pictures only, backups, orphans."""

from __future__ import annotations

import io
import uuid

import httpx
import pytest
from PIL import Image

from tests.api.conftest import fault
from tests.api.pictures import data_url, many_scenes, png
from tests.api.test_search import search, upload


@pytest.fixture
def project(http: httpx.Client) -> str:
    return f"x-{uuid.uuid4().hex[:8]}"


def photograph(width: int = 1200, height: int = 900, orientation: int = 1) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("RGB", (width, height), (200, 30, 40))
    picture.paste((250, 250, 250), (0, 0, width // 10, height // 10))
    picture.save(buffer, "JPEG", exif=exif.tobytes())
    return buffer.getvalue()


def test_thumbnails_are_upright_and_of_the_size_asked_for(http: httpx.Client, project: str) -> None:
    record = upload(http, project, photograph(orientation=6))
    assert (record["width"], record["height"]) == (900, 1200)
    assert record["dominant_color"] in ("#c81e28", "#c91e28", "#c81e27", "#c81d28")
    path = f"/v1/projects/{project}/images/{record['id']}/thumbnail"
    for size, expected in ((None, (192, 256)), (512, (384, 512)), (64, (48, 64)), (16, (12, 16))):
        answer = http.get(path, params={} if size is None else {"size": size}).raise_for_status()
        assert answer.headers["content-type"] == "image/webp"
        assert "immutable" in answer.headers["cache-control"]
        assert Image.open(io.BytesIO(answer.content)).size == expected
    small = upload(http, project, png())
    answer = http.get(f"/v1/projects/{project}/images/{small['id']}/thumbnail")
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64), "never enlarged"


@pytest.mark.parametrize("size", ["0", "15", "513", "large", "-1"])
def test_a_thumbnail_of_no_size_that_there_is_is_refused(http: httpx.Client, project: str, size: str) -> None:
    record = upload(http, project, png())
    status, _, param = fault(http.get(f"/v1/projects/{project}/images/{record['id']}/thumbnail?size={size}"))
    assert (status, param) == (400, "size")


def test_a_thumbnail_of_nothing_is_not_found(http: httpx.Client, project: str) -> None:
    upload(http, project, png())
    missing = f"/v1/projects/{project}/images/{uuid.uuid4()}/thumbnail"
    assert fault(http.get(missing))[:2] == (404, "NOT_FOUND")
    assert fault(http.get("/v1/projects/never/images/nonsense/thumbnail"))[:2] == (400, "INVALID_ID")


def test_searches_may_want_some_types_and_times_only(http: httpx.Client, project: str) -> None:
    first = upload(http, project, png())
    photo = upload(http, project, photograph())
    last = upload(http, project, png(many_scenes(1)[0]))

    def ids(**wanted: object) -> set[str]:
        return {result["id"] for result in search(http, project, query="a red circle", limit=10, **wanted)}

    assert ids() == {first["id"], photo["id"], last["id"]}
    assert ids(content_type="image/jpeg") == {photo["id"]}
    assert ids(content_type=["image/jpeg", "image/png"]) == ids()
    assert ids(content_type=["image/gif"]) == set()
    assert ids(created_after=photo["created_at"]) == {photo["id"], last["id"]}
    assert ids(created_before=photo["created_at"]) == {first["id"]}
    assert ids(created_after=photo["created_at"], created_before=last["created_at"]) == {photo["id"]}
    assert ids(created_after="2020-01-01", created_before="2020-01-02T00:00:00+09:00") == set()
    by_id = search(http, project, image_id=first["id"], content_type="image/jpeg")
    by_picture = search(http, project, image=data_url(png()), content_type="image/jpeg")
    assert [r["id"] for r in by_id] == [r["id"] for r in by_picture] == [photo["id"]]


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"content_type": "image/svg+xml"}, "content_type"),
        ({"content_type": []}, "content_type"),
        ({"content_type": ["image/png", 3]}, "content_type[1]"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": 5}, "created_before"),
        ({"created_after": "0001-01-01T00:00:00+23:59"}, "created_after"),
        ({"created_before": "9999-12-31T23:59:59-23:00"}, "created_before"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"min_score": 1.5}, "min_score"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_name(
    http: httpx.Client, project: str, wanted: dict[str, object], param: str
) -> None:
    upload(http, project, png())
    answer = http.post(f"/v1/projects/{project}/images/search", json={"query": "a red circle", **wanted})
    status, _, named = fault(answer)
    assert (status, named) == (400, param)


def test_a_backup_is_made_listed_and_gone_back_to(http: httpx.Client, project: str) -> None:
    kept = upload(http, project, png())
    made = http.post("/api/admin/search/backup").raise_for_status().json()
    assert made["rows"]["images"] >= 1
    assert http.get("/api/admin/search/backups").json()["backups"][0] == made
    late = upload(http, project, png(many_scenes(1)[0]))
    assert http.post("/api/admin/search/restore", json={"version": made["key"]}).json() == made
    listed = http.get(f"/v1/projects/{project}/images").json()["images"]
    assert [record["id"] for record in listed] == [kept["id"]]
    strays = http.post("/api/admin/search/gc", json={"delete": True}).json()
    assert late["r2_key"] not in strays["orphans"], "one could still go forward again"
    assert strays["set_aside"] >= 2
    assert strays["indexes_set_aside"]
    assert fault(http.post("/api/admin/search/gc", json={"forget_set_aside": True}))[2] == "forget_set_aside"
    removed = http.post("/api/admin/search/gc", json={"delete": True, "forget_set_aside": True}).json()
    assert late["r2_key"] in removed["orphans"], "its file was added after the backup"
    assert removed["deleted"] == len(removed["orphans"])
    assert (removed["set_aside"], removed["indexes_set_aside"]) == (0, [])
    assert http.post("/api/admin/search/gc", json={}).json()["orphans"] == []
    assert search(http, project, query="a red circle")[0]["id"] == kept["id"]


def test_a_backup_that_there_is_not_is_refused_and_nothing_changes(http: httpx.Client, project: str) -> None:
    record = upload(http, project, png())
    http.post("/api/admin/search/backup").raise_for_status()
    answer = http.post("/api/admin/search/restore", json={"version": "image_search.db.versions/none.db"})
    assert fault(answer)[:2] == (404, "NOT_FOUND")
    assert http.get(f"/v1/projects/{project}/images").json()["images"] == [record]
    assert http.get("/readyz").json()["image_search_state"] == {"state": "ready"}
