"""A server whose image index is in PostgreSQL: two search replicas share it, and it comes back after a restart."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import yaml

from cli.environment import ROOT
from tests.api.pictures import many_scenes, png
from tests.api.test_cli_search import User
from tests.api.test_search import search, upload
from tests.servers import start_server


def config_of_two(folder: Path) -> Path:
    """The default configuration with two search replicas."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["search"] = {"replicas": 2}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_two_replicas_share_one_index_and_survive_a_kill(tmp_path: Path, database_url: str) -> None:
    keys = {"ATELIER_API_KEYS": "open-sesame", "ATELIER_ADMIN_KEYS": "all-mine"}
    server = start_server(tmp_path / "home", config_of_two(tmp_path), SEARCH_DATABASE_URL=database_url, **keys)
    try:
        server.wait_until_ready()
        for key, said in (("", "an API key is needed"), ("wrong-key", "the API key is not valid")):
            stranger = User(server.url, tmp_path / "stranger", ATELIER_API_KEY=key)
            assert stranger.run("query", "red", "--project", "p", status=2).startswith(f"atelier: {said}")
        user = User(server.url, tmp_path / "user", ATELIER_API_KEY="open-sesame")
        assert "403" in user.run("gc", status=2) or "admin" in user.run("gc", status=2)
        with httpx.Client(
            base_url=server.url, timeout=120, headers={"Authorization": f"Bearer {keys['ATELIER_API_KEYS']}"}
        ) as http:
            pictures = [png(each) for each in many_scenes(24)]
            ids = [upload(http, "shared", pictures[0])["id"]]
            with ThreadPoolExecutor(8) as callers:  # each picture twice, which may meet in different replicas
                twice = list(callers.map(lambda data: upload(http, "shared", data)["id"], pictures[1:] * 2))
            assert twice[:23] == twice[23:]
            ids += twice[:23]
            assert len(set(ids)) == 24
            for _ in range(6):  # whichever replica answers
                listed = http.get("/v1/projects/shared/images").json()["images"]
                assert {record["id"] for record in listed} == set(ids)
                assert search(http, "shared", image_id=ids[5], limit=1)[0]["id"] == ids[5]
            assert not list((tmp_path / "home").rglob("image_search.db*")), "no file beside it"

            replicas = [p for p in server.processes() if "atelier:search" in " ".join(_command(p))]
            assert len(replicas) == 2
            os.kill(replicas[0].pid, signal.SIGKILL)
            statuses = [http.get("/v1/projects/shared/images").status_code for _ in range(6)]
            assert set(statuses) <= {200, 503}
            assert 200 in statuses
            assert upload(http, "shared", pictures[3]).get("duplicate") is True
            admin = User(server.url, tmp_path / "admin", ATELIER_API_KEY="all-mine")
            assert admin.run("gc").startswith("files: 0 of no picture; pictures without a file: 0")
            assert "no backups are made of this index" in admin.run("backup", status=2), "PostgreSQL has its own tools"
    finally:
        assert server.stop() == 0


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
