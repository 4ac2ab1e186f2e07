"""`atelier search`, as a user runs it: in a process of its own, against a running server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.environment import ROOT, free_ports
from tests.api.pictures import many_scenes, png, scene
from tests.api.test_resilience import replica
from tests.servers import Server, environment

RED_CIRCLE = "a red circle on a blue background"


class User:
    """Somebody at a shell, with a home of their own."""

    command = "search"

    def __init__(self, url: str, home: Path, **environ: str) -> None:
        self.environ = environment(home, ATELIER_URL=url, **environ)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", self.command, *map(str, arguments)],
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # whatever started the tests in the background may have made them deaf to it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *arguments: object, status: int = 0) -> str:
        """What the command prints; its errors when another status than 0 is expected."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=200)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
        return output if status == 0 else errors


@pytest.fixture
def user(server: Server, tmp_path: Path) -> User:
    return User(server.url, tmp_path / "home")


@pytest.fixture
def project() -> str:
    return f"cli-{uuid.uuid4().hex[:8]}"


def folder_of_pictures(folder: Path, count: int) -> Path:
    for number, each in enumerate(many_scenes(count)):
        path = folder / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(each))
    return folder


def records(http: httpx.Client, project: str) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/projects/{project}/images")
    found: list[dict[str, Any]] = answer.json()["images"] if answer.is_success else []
    return found


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_folder_is_added_found_and_skipped_the_next_time(
    user: User, http: httpx.Client, project: str, tmp_path: Path
) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures", 12)
    (pictures / "red circle.PNG").write_bytes(png(scene()))
    (pictures / ".hidden.png").write_bytes(png(scene("star")))
    (pictures / "notes.txt").write_text("no picture")
    said = user.run("add", pictures, "--project", project)
    assert said == "13 of 13 pictures: 13 added, 0 already there, 0 skipped (sent before), 0 refused\n"
    table = user.run("query", *RED_CIRCLE.split(), "--project", project)
    found = json.loads(user.run("query", RED_CIRCLE, "--project", project, "--limit", "1", "--json"))
    assert found["original_filename"] == "red circle.PNG"
    assert table.splitlines()[1].startswith(f"{found['score']:.3f}  {found['id']}  red circle.PNG  ")
    like_it = user.run(
        "query", "--image", pictures / "red circle.PNG", "--project", project, "--json", "--min-score", "0.99"
    )
    assert [json.loads(line)["id"] for line in like_it.splitlines()] == [found["id"]]
    itself = user.run("query", "--id", found["id"], "--project", project, "--limit", "1", "--json")
    assert json.loads(itself)["id"] == found["id"]

    http.delete(f"/v1/projects/{project}/images/{found['id']}").raise_for_status()
    said = json.loads(user.run("add", pictures, "--project", project, "--json"))
    assert said == {"total": 13, "added": 1, "already_there": 0, "skipped": 12, "refused": []}
    assert len(records(http, project)) == 13


def test_what_is_refused_is_listed_and_the_rest_is_added(user: User, project: str, tmp_path: Path) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures", 3)
    (pictures / "empty.png").touch()
    (pictures / "text.jpg").write_text("no picture")
    (pictures / "huge.bmp").write_bytes(bytes(100 * 2**20))
    (pictures / "gone.gif").symlink_to("nowhere")
    (pictures / "again.png").write_bytes((pictures / "0" / "000.png").read_bytes())
    process = user.start("add", pictures, "--project", project, "--jobs", "1")
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert output == "8 of 8 pictures: 3 added, 1 already there, 0 skipped (sent before), 4 refused\n"
    told = dict(line.split(": ", 1) for line in errors.splitlines() if line.startswith(str(tmp_path)))
    assert told == {
        f"{pictures}/empty.png": "file: the file is empty",
        f"{pictures}/gone.gif": "No such file or directory",
        f"{pictures}/huge.bmp": "file: at most 20971520 bytes are accepted",
        f"{pictures}/text.jpg": "not a readable JPEG, PNG, WebP, GIF or BMP image",
    }


@pytest.mark.nightly
def test_ctrl_c_says_how_far_it_came_and_the_same_command_goes_on(
    user: User, http: httpx.Client, project: str, tmp_path: Path
) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures", 150)
    process = user.start("add", pictures, "--project", project, "--jobs", "1")
    wait_until(lambda: len(records(http, project)) >= 5, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last.startswith("atelier: stopped; ")
    assert " of 150 pictures: " in last
    assert last.endswith("; the same command goes on from there")
    there = len(records(http, project))
    assert there < 150
    said = user.run("add", pictures, "--project", project)
    assert len(records(http, project)) == 150
    skipped = int(said.split(" skipped")[0].split()[-1])
    assert there - 1 <= skipped <= there  # one may have arrived whose answer was not waited for


@pytest.mark.nightly
def test_after_a_kill_the_next_run_goes_on(user: User, http: httpx.Client, project: str, tmp_path: Path) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures", 150)
    process = user.start("add", pictures, "--project", project, "--jobs", "2")
    wait_until(lambda: len(records(http, project)) >= 10, process)
    process.kill()
    process.communicate()
    there = len(records(http, project))
    said = user.run("add", pictures, "--project", project)
    assert " 0 refused" in said
    assert len(records(http, project)) == 150
    assert int(said.split(" skipped")[0].split()[-1]) >= there - 2


def test_an_export_is_imported_into_another_project_with_everything_kept(
    user: User, http: httpx.Client, project: str, tmp_path: Path
) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures", 10)
    (pictures / "원 하나.png").write_bytes(png(scene()))
    user.run("add", pictures, "--project", project)
    target = tmp_path / "export"
    assert user.run("export", target, "--project", project).startswith("11 of 11 pictures: 11 fetched, ")
    lines = [json.loads(line) for line in (target / "manifest.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "file"} for line in lines] == records(http, project)
    assert {line["file"] for line in lines} == {f"images/{each.name}" for each in (target / "images").iterdir()}
    sent = {each.name: each.read_bytes() for each in pictures.rglob("*.png")}
    assert {line["original_filename"]: (target / line["file"]).read_bytes() for line in lines} == sent
    assert sorted(each.name for each in target.iterdir()) == ["images", "manifest.jsonl"]

    other = f"{project}-again"
    assert user.run("import", target, "--project", other).startswith("11 of 11 pictures: 11 added, ")
    new_ids = {each["original_filename"]: each["id"] for each in records(http, other)}
    imported = [json.loads(line) for line in (target / "imported.jsonl").read_text().splitlines()]
    assert {each["id"]: each["new_id"] for each in imported} == {
        line["id"]: new_ids[line["original_filename"]] for line in lines
    }
    assert " 11 skipped " in user.run("import", target, "--project", other)
    assert len((target / "imported.jsonl").read_text().splitlines()) == 11


@pytest.mark.nightly
def test_an_export_fetches_again_only_what_is_not_whole(user: User, project: str, tmp_path: Path) -> None:
    user.run("add", folder_of_pictures(tmp_path / "pictures", 5), "--project", project)
    target = tmp_path / "export"
    user.run("export", target, "--project", project)
    manifest = (target / "manifest.jsonl").read_text()
    changed, cut, *_ = sorted((target / "images").iterdir())
    whole = changed.read_bytes()
    changed.write_bytes(whole[:-1] + b"x")
    cut.write_bytes(b"")
    said = json.loads(user.run("export", target, "--project", project, "--json"))
    assert said == {"total": 5, "fetched": 2, "kept": 3, "failed": []}
    assert changed.read_bytes() == whole
    assert (target / "manifest.jsonl").read_text() == manifest


@pytest.mark.nightly
def test_a_killed_export_goes_on(user: User, project: str, tmp_path: Path) -> None:
    user.run("add", folder_of_pictures(tmp_path / "pictures", 150), "--project", project)
    target = tmp_path / "export"
    process = user.start("export", target, "--project", project, "--jobs", "1")
    wait_until(lambda: len(list(target.glob("images/*.png"))) >= 10, process)
    process.kill()
    process.communicate()
    assert not (target / "manifest.jsonl").exists()
    said = user.run("export", target, "--project", project)
    assert int(said.split(" already there")[0].split()[-1]) >= 9
    assert len((target / "manifest.jsonl").read_text().splitlines()) == 150


@pytest.mark.nightly
def test_a_picture_that_is_not_the_manifests_is_not_imported(user: User, project: str, tmp_path: Path) -> None:
    user.run("add", folder_of_pictures(tmp_path / "pictures", 3), "--project", project)
    target = tmp_path / "export"
    user.run("export", target, "--project", project)
    changed = next((target / "images").iterdir())
    changed.write_bytes(png(scene("ring")))
    process = user.start("import", target, "--project", f"{project}-again", "--json")
    output, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (1, "")
    said = json.loads(output)
    assert (said["total"], said["added"]) == (3, 2)
    assert said["refused"] == [f"{changed}: its bytes are not those of the manifest"]
    assert len((target / "imported.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "{folder}/none", "--project", "p"], "there is no file or folder {folder}/none"),
        (["add", "{folder}", "--project", "p"], "there are no pictures in {folder} (.jpg .jpeg "),
        (["add", ROOT / "docs", "--project", "a/b"], "--project: 'a/b': 1 to 128 of A-Z a-z 0-9 . _ - are needed"),
        (["query", "red", "--project", "nobody-made-this"], "has no project 'nobody-made-this'"),
        (["query", "red", "--project", "default", "--min-score", "2"], "--min-score: 2.0: a number from -1 to 1"),
        (["query", "red", "--project", "default", "--id", "x"], "what to look for: give words, or --image, or --id"),
        (["query", "--project", "default", "--id", "x"], "image_id: 'x' is not a UUID"),
        (["query", "--project", "default", "--image", "{folder}/none"], "--image: {folder}/none: No such file"),
        (["query", "x" * 2001, "--project", "default"], "query: "),
        (["query", "red", "--project", "p", "--server", "here:80"], "--server: 'here:80': a URL such as http://"),
        (["export", "{folder}/new", "--project", "nobody-made-this"], "has no project 'nobody-made-this'"),
        (["export", ROOT / "docs", "--project", "default"], "docs is not empty and holds no export; choose another"),
        (["import", "{folder}", "--project", "p"], "{folder} holds no export: there is no manifest.jsonl in it"),
    ],
)
def test_a_mistake_is_one_line(user: User, arguments: list[str], said: str, tmp_path: Path) -> None:
    errors = user.run(*(str(each).format(folder=tmp_path) for each in arguments), status=2)
    assert errors.startswith("atelier: ")
    assert said.format(folder=tmp_path) in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.rglob("new")) == []


def test_where_no_server_answers_the_way_to_start_one_is_reported(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    user = User("", tmp_path / "home", PORT=str(port))
    errors = user.run("query", "red", "--project", "default", status=1)
    assert errors.startswith(f"atelier: no server answers at http://127.0.0.1:{port} (")
    assert "`make run`" in errors


@pytest.mark.nightly
def test_a_server_that_goes_away_in_the_middle_is_waited_for(
    server: Server, user: User, http: httpx.Client, project: str, tmp_path: Path
) -> None:
    process = user.start("add", folder_of_pictures(tmp_path / "pictures", 60), "--project", project, "--jobs", "1")
    wait_until(lambda: len(records(http, project)) >= 5, process)
    replica(server, "ingress").kill()
    output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    assert output.startswith("60 of 60 pictures: ")


@pytest.mark.nightly
def test_an_administrator_backs_up_goes_back_and_clears_away(
    user: User, project: str, http: httpx.Client, tmp_path: Path
) -> None:
    user.run("add", folder_of_pictures(tmp_path / "pictures", 3), "--project", project)
    made = user.run("backup")
    version, _, rest = made.partition(": ")
    assert "pictures" in rest
    assert user.run("backups").splitlines()[1].startswith(version)
    late = http.post(f"/v1/projects/{project}/images", files={"file": png(scene("ring", "black", "white"))}).json()
    assert user.run("restore", version).startswith(f"restored {version}: ")
    assert len(records(http, project)) == 3
    listed = user.run("gc", "--delete")
    assert "of indexes that restores have set aside (image_search.db.before-restore-" in listed
    assert late["r2_key"] not in listed
    assert "pictures without a file: 0" in listed
    assert "needs --delete" in user.run("gc", "--forget-set-aside", status=2)
    listed = user.run("gc", "--delete", "--forget-set-aside")
    assert late["r2_key"] in listed
    assert "deleted" in listed
    assert user.run("gc").startswith("files: 0 of no picture")
    assert "there is no such backup" in user.run("restore", "image_search.db.versions/none.db", status=2)
