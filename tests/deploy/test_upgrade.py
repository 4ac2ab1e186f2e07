"""An upgrade and its way back, of a small repository with the parts that they touch."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import service
from cli.__main__ import app
from cli.environment import ROOT
from cli.service import commands, launchd
from cli.service.definition import Service, ServiceError
from cli.service.launchd import Launchd
from cli.service.upgrade import Upgrade
from tests.deploy import launchctl

VENV = f"""mkdir -p .venv/bin
cat version >.venv/version
cat >.venv/bin/python <<'END'
#!/bin/sh
exec {sys.executable} "$@"
END
chmod +x .venv/bin/python
"""
CHECK = (
    "import sys, pathlib\nsys.exit('the file has a mistake' if 'bad' in pathlib.Path(sys.argv[2]).read_text() else 0)\n"
)


class Server(Launchd):
    """A service that starts where the version is good, and migrates its database."""

    def __init__(self, root: Path, database: Path) -> None:
        super().__init__("user")
        self.root, self.database, self.runs = root, database, True
        self.done: list[str] = []

    def stop(self) -> None:
        self.done.append("stop")
        self.runs = False

    def start(self) -> None:
        version = (self.root / "version").read_text().strip()
        assert version == (self.root / ".venv" / "version").read_text().strip()  # code and packages go together
        self.done.append(f"start {version}")
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("UPDATE schema SET version = ?", (version,))
        if version == "broken":
            raise ServiceError("it ended at once")
        self.runs = True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone, on main at version 1; its origin goes on to 2."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch=main")
    for name, text in {
        "deploy/venv.sh": VENV, "cli/__init__.py": "", "cli/__main__.py": CHECK,
        "deploy/environment.sh": 'cp "requirements.$1.lock" ".venv/$1"', "requirements.tts.lock": "tts==1\n",
        ".gitignore": ".venv\n.venv.before*\n.upgrade/\n", "serve_config.yaml": "good\n", "version": "1\n",
    }.items():  # fmt: skip
        (origin / name).parent.mkdir(exist_ok=True)
        (origin / name).write_text(text)
    release(origin, "1")
    git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    subprocess.run(["sh", "deploy/venv.sh"], cwd=clone, check=True)
    release(origin, "2")
    return clone


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def release(origin: Path, version: str, config: str = "good") -> None:
    (origin / "version").write_text(f"{version}\n")
    (origin / "serve_config.yaml").write_text(f"{config}\n")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", f"Version {version}")
    git(origin, "tag", f"v{version}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "search").mkdir(parents=True)
    (folder / "keys.json").write_text("{}")
    (folder / "server.json").write_text("")
    with closing(sqlite3.connect(folder / "search" / "images.db")) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE schema (version TEXT)")
        database.execute("INSERT INTO schema VALUES ('1')")
    return folder


def schema(home: Path) -> str:
    with closing(sqlite3.connect(home / "search" / "images.db")) as database:
        (version,) = database.execute("SELECT version FROM schema").fetchone()
        return str(version)


def state(root: Path) -> tuple[str, str, str]:
    return (
        (root / "version").read_text().strip(), (root / ".venv" / "version").read_text().strip(),
        git(root, "branch", "--show-current"),
    )  # fmt: skip


def test_an_upgrade_exchanges_code_and_packages_between_stop_and_start_and_leads_back(root: Path, home: Path) -> None:
    server = Server(root, home / "search" / "images.db")
    Upgrade(server, root).forward(root / "serve_config.yaml", home, environments=["tts", "gone"])
    assert state(root) == ("2", "2", "main")
    assert (root / ".venv" / "tts").read_text() == "tts==1\n"  # the system's account could not install them
    assert server.done == ["stop", "start 2"]
    assert schema(home) == "2"
    assert not (root / ".upgrade").exists()
    Upgrade(server, root).forward(root / "serve_config.yaml", home)
    assert server.done == ["stop", "start 2"]  # it is there already
    Upgrade(server, root).back()
    assert state(root) == ("1", "1", "main")
    assert schema(home) == "1"
    assert server.runs
    with pytest.raises(ServiceError, match="no version before"):
        Upgrade(server, root).back()


def test_as_json_an_upgrade_and_its_way_back_say_between_which_commits(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_HOME", str(home))
    monkeypatch.setattr(commands, "Upgrade", partial(Upgrade, root=root))
    monkeypatch.setattr(service, "installed", lambda: None)
    one = git(root, "rev-parse", "HEAD")

    def upgrade(*arguments: str) -> tuple[dict[str, str], str]:
        done = CliRunner().invoke(app, ["upgrade", "--json", "--config", str(ROOT / "serve_config.yaml"), *arguments])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout), done.stderr

    two = git(root.parent / "origin", "rev-parse", "HEAD")
    result, said = upgrade()
    assert [one.startswith(result["before"]), two.startswith(result["now"])] == [True, True]
    assert "backup" in said
    result, _ = upgrade("--back")
    assert [two.startswith(result["before"]), one.startswith(result["now"])] == [True, True]


def test_a_version_that_does_not_start_is_replaced_by_the_old_one_with_its_databases(root: Path, home: Path) -> None:
    release(root.parent / "origin", "broken")
    server = Server(root, home / "search" / "images.db")
    with pytest.raises(ServiceError, match=r"did not start and \w+ is back: it ended at once"):
        Upgrade(server, root).forward(root / "serve_config.yaml", home)
    assert server.done == ["stop", "start broken", "stop", "start 1"]
    assert state(root) == ("1", "1", "main")
    assert schema(home) == "1"
    (backup,) = (home / "backups").iterdir()
    with closing(sqlite3.connect(next((backup / "after").glob("*.db")))) as newer:
        assert newer.execute("SELECT version FROM schema").fetchone() == ("broken",)  # nothing is thrown away


SERVE = """import pathlib, sys, time
if "broken" in pathlib.Path("version").read_text():
    sys.exit("atelier: it has a mistake")
print("Atelier is ready at http://127.0.0.1:8000", flush=True)
time.sleep(30)
"""


def test_under_launchd_too_a_version_that_does_not_start_is_seen_and_replaced(
    root: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serve.py").write_text(SERVE)
    launchctl.install(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(launchd, "ROOT", root)
    monkeypatch.setattr(launchd, "command", lambda _: [sys.executable, str(tmp_path / "serve.py")])
    launched = Launchd("user")
    launched.install(root / "serve_config.yaml")
    try:
        release(root.parent / "origin", "broken")
        with pytest.raises(ServiceError, match=r"is back: the service ended with the exit status 1: it has a mistake"):
            Upgrade(launched, root).forward(root / "serve_config.yaml", home)
        assert state(root) == ("1", "1", "main")
        assert launched.state().active == "active"
    finally:
        launched.uninstall()


def test_code_that_cannot_be_exchanged_leaves_the_old_version_running(root: Path, home: Path) -> None:
    (root.parent / "origin" / "notes").write_text("theirs")
    release(root.parent / "origin", "3")
    (root / "notes").write_text("mine")  # in the way, and not git's to overwrite
    server = Server(root, home / "search" / "images.db")
    with pytest.raises(ServiceError, match=r"did not start and \w+ is back: git in "):
        Upgrade(server, root).forward(root / "serve_config.yaml", home)
    assert server.done == ["stop", "stop", "start 1"]
    assert state(root) == ("1", "1", "main")
    assert (root / "notes").read_text() == "mine"
    assert not (root / ".upgrade").exists()


def test_changes_of_ones_own_keep_the_way_back_from_stopping_anything(root: Path, home: Path) -> None:
    server = Server(root, home / "search" / "images.db")
    Upgrade(server, root).forward(root / "serve_config.yaml", home)
    (root / "version").write_text("mine\n")
    with pytest.raises(ServiceError, match=r"changes of its own \(version\)"):
        Upgrade(server, root).back()
    assert server.done == ["stop", "start 2"]


def test_a_configuration_that_the_new_version_refuses_changes_nothing(root: Path, home: Path) -> None:
    release(root.parent / "origin", "3", config="bad")
    server = Server(root, home / "search" / "images.db")
    with pytest.raises(ServiceError, match="the new version: the file has a mistake"):
        Upgrade(server, root).forward(root / "serve_config.yaml", home, to="v3")
    assert server.done == []
    assert state(root) == ("1", "1", "main")
    assert not (root / ".upgrade").exists()


def test_what_cannot_be_upgraded_is_said_before_anything_is_done(root: Path, home: Path) -> None:
    upgrade = Upgrade(None, root)
    with pytest.raises(ServiceError, match="no such version"):
        upgrade.forward(root / "serve_config.yaml", home, to="v99")
    (root / "version").write_text("mine\n")
    with pytest.raises(ServiceError, match=r"changes of its own \(version\)"):
        upgrade.forward(root / "serve_config.yaml", home)
    git(root, "commit", "--quiet", "--all", "--message", "Mine")
    with pytest.raises(ServiceError, match="commits that its upstream has not"):
        upgrade.forward(root / "serve_config.yaml", home)


def test_a_named_version_is_checked_out_and_a_branch_comes_back(root: Path, home: Path) -> None:
    upgrade = Upgrade(None, root)
    upgrade.forward(root / "serve_config.yaml", home, to="v2")
    assert state(root) == ("2", "2", "")
    assert len(json.loads((root / ".venv.before.json").read_text())["copies"]) == 2
    upgrade.back()
    assert state(root) == ("1", "1", "main")


def test_a_service_has_the_variables_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen: Service = Launchd("user")
    assert chosen.environment() == {}
    chosen.write_variables({"ATELIER_HOME": "/srv/atelier", "PATH": "/bin"})
    assert chosen.environment() == {"ATELIER_HOME": "/srv/atelier"}
