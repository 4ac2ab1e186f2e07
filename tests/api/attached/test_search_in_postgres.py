"""An image index in PostgreSQL: two search replicas share it, and it outlives one of them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.attached.conftest import KEYS
from tests.api.pictures import many_scenes, png
from tests.api.test_cli_search import User
from tests.api.test_search import search, upload
from tests.servers import Server


@pytest.mark.nightly
def test_two_replicas_share_one_index_and_survive_a_kill(
    attached: Server, caller: httpx.Client, tmp_path: Path
) -> None:
    for key, said in (("", "an API key is needed"), ("wrong-key", "the API key is not valid")):
        stranger = User(attached.url, tmp_path / "stranger", ATELIER_API_KEY=key)
        assert stranger.run("query", "red", "--project", "p", status=2).startswith(f"atelier: {said}")
    user = User(attached.url, tmp_path / "user", ATELIER_API_KEY=KEYS["ATELIER_API_KEYS"])
    assert "403" in user.run("gc", status=2) or "admin" in user.run("gc", status=2)
    pictures = [png(each) for each in many_scenes(24)]
    ids = [upload(caller, "shared", pictures[0])["id"]]
    with ThreadPoolExecutor(8) as callers:  # each picture twice, which may meet in different replicas
        twice = list(callers.map(lambda data: upload(caller, "shared", data)["id"], pictures[1:] * 2))
    assert twice[:23] == twice[23:]
    ids += twice[:23]
    assert len(set(ids)) == 24
    for _ in range(6):  # whichever replica answers
        listed = caller.get("/v1/projects/shared/images").json()["images"]
        assert {record["id"] for record in listed} == set(ids)
        assert search(caller, "shared", image_id=ids[5], limit=1)[0]["id"] == ids[5]
    assert not list(attached.home.rglob("image_search.db*")), "no file beside it"

    replicas = [p for p in attached.processes() if "atelier:search" in " ".join(_command(p))]
    assert len(replicas) == 2
    os.kill(replicas[0].pid, signal.SIGKILL)
    statuses = [caller.get("/v1/projects/shared/images").status_code for _ in range(6)]
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert upload(caller, "shared", pictures[3]).get("duplicate") is True
    admin = User(attached.url, tmp_path / "admin", ATELIER_API_KEY=KEYS["API_KEY"])
    assert admin.run("gc").startswith("files: 0 of no picture; pictures without a file: 0")
    assert "no backups are made of this index" in admin.run("backup", status=2), "PostgreSQL has its own tools"


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
