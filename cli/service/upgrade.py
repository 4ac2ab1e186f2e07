"""`atelier upgrade`: another version of the code in place of this one, with a backup first and a way back.

    PREPARE   a worktree of the new version with a virtual environment of its own, while the old one serves; the
              configuration is checked by the new code
    KEEP      the databases and the file of keys are copied, as the running server has them
    SWITCH    the service stops, code and environment are exchanged, the service starts and says that it is ready
    BACK      if it does not: code, environment and databases as they were, and the old version starts

Ray and its workers are processes of one Python and one version of Ray, so a new environment cannot be deployed into the
running cluster: between stop and start (some fifteen seconds) clients find no server, and try again. Requests under way
when it stops are finished first, for as long as `cli.supervisor` lets them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.environment import ROOT
from cli.service.definition import Service, ServiceError, write


@dataclass(frozen=True)
class Version:
    """What the way back leads to."""

    commit: str
    branch: str
    """The branch that was checked out; empty: none."""
    copies: dict[str, str]
    """Where each database and file of the server's state was copied to."""


class Upgrade:
    """Exchanges the version in the repository at `root`. Every method raises `ServiceError`.

    Args:
        service: what runs it, stopped and started on the way; None: nothing does.
        root: the repository, with `.venv` in it.
        say: is given a line about each step.
    """

    def __init__(self, service: Service | None, root: Path = ROOT, say: Callable[[str], None] = print) -> None:
        self._service, self._root, self._say = service, root, say
        self._new = root / ".upgrade"
        self._venv, self._venv_before = root / ".venv", root / ".venv.before"
        self._record = root / ".venv.before.json"

    def commit(self) -> str:
        """Which commit the repository is at."""
        return self._git("rev-parse", "HEAD")

    def forward(
        self,
        config: Path,
        home: Path,
        databases: Iterable[Path] = (),
        to: str | None = None,
        environments: Iterable[str] = (),
    ) -> None:
        """Bring it to `to` (a tag, branch or commit; None: what its upstream has).

        If the new version does not start, the old one is back as it was when this raises.

        Args:
            config: the configuration that the new version must understand.
            home: ATELIER_HOME.
            databases: those that lie elsewhere.
            to: what is wanted.
            environments: of the engines with packages of their own, which are installed before anything stops.
        """
        old = self.commit()
        self._require_unchanged()
        if self._git("remote"):
            self._git("fetch", "--quiet", "--tags")
        new = self._git(
            "rev-parse", "--verify", "--quiet", f"{to or '@{upstream}'}^{{commit}}", otherwise="no such version"
        )
        if new == old:
            self._say(f"{old[:12]} is what there is already")
            return
        if not to:
            self._git(
                "merge-base",
                "--is-ancestor",
                old,
                new,
                otherwise="has commits that its upstream has not; name a version",
            )
        self._say(f"preparing {new[:12]}: {self._git('log', '-1', '--format=%s', new)}")
        with self._prepared(new, config, environments):
            backup = home / "backups" / f"upgrade-{time.strftime('%Y%m%d-%H%M%S')}"
            copies = keep([*kept(home), *databases], backup)
            self._say(f"copied {len(copies)} databases and files to {backup}")
            before = Version(old, self._git("branch", "--show-current"), copies)
            if self._service:
                self._service.stop()
            write(self._record, json.dumps(asdict(before)))
            shutil.rmtree(self._venv_before, ignore_errors=True)
            self._venv.rename(self._venv_before)
            try:
                (self._new / ".venv").rename(self._venv)
                self._git(*(["checkout", "--quiet", "--detach", new] if to else ["merge", "--quiet", "--ff-only", new]))
                if self._service:
                    self._service.start()
            except (ServiceError, OSError) as error:
                self._say(f"{new[:12]} does not start: {error}")
                self.back()
                raise ServiceError(f"{new[:12]} did not start and {old[:12]} is back: {error}") from None
        self._say(f"{new[:12]} is there; `--back` leads back to {old[:12]}")

    def back(self) -> None:
        """Return to the version before the last upgrade, with its databases; the newer ones stay beside the copies."""
        try:
            version = Version(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            raise ServiceError("there is no version before this one") from None
        if not self._venv_before.exists():
            raise ServiceError(f"{self._venv_before} is gone; check {version.commit[:12]} out and call `make run`")
        self._require_unchanged()
        if self._service:
            self._service.stop()
        shutil.rmtree(self._venv, ignore_errors=True)
        self._venv_before.rename(self._venv)
        branch = ["-B", version.branch] if version.branch else ["--detach"]
        self._git("checkout", "--quiet", *branch, version.commit)
        restore(version.copies)
        self._record.unlink()
        if self._service:
            self._service.start()
        self._say(f"{version.commit[:12]} is back")

    @contextlib.contextmanager
    def _prepared(self, commit: str, config: Path, environments: Iterable[str]) -> Iterator[None]:
        """A worktree of the commit with an environment of its own, gone afterwards."""
        self._remove_worktree()
        self._git("worktree", "add", "--quiet", "--detach", str(self._new), commit)
        try:
            extras = ["japanese"] if (self._root / ".venv" / "installed-japanese").exists() else []
            self._call("the new version's packages", ["sh", "deploy/venv.sh", *extras])
            config = config.resolve()
            checked = self._new / config.relative_to(self._root) if config.is_relative_to(self._root) else config
            self._call("the new version", [".venv/bin/python", "-m", "cli", "check", str(checked)])
            for name in environments:
                if (self._new / f"requirements.{name}.lock").exists():
                    script = ["env", "PYTHON=.venv/bin/python", "sh", "deploy/environment.sh", name]
                    self._call(f"the packages of {name}", script)
            yield
        finally:
            self._remove_worktree()

    def _require_unchanged(self) -> None:
        """Check that another version can be checked out, before anything stops for it."""
        if changed := self._git("status", "--porcelain", "--untracked-files=no"):
            raise ServiceError(f"{self._root} has changes of its own ({changed.split()[-1]}); commit or stash them")

    def _remove_worktree(self) -> None:
        if self._new.exists():
            self._git("worktree", "remove", "--force", str(self._new))
        self._git("worktree", "prune")

    def _call(self, what: str, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self._new, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ServiceError(f"{what}: {said[-1] if said else f'exit status {done.returncode}'}")

    def _git(self, *arguments: str, otherwise: str = "") -> str:
        try:
            done = subprocess.run(  # noqa: S603
                ["git", "-C", self._root, *arguments],  # noqa: S607
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except OSError as error:
            raise ServiceError(f"cannot run git: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ServiceError(f"git in {self._root}: {otherwise or (said[-1] if said else arguments[0])}")
        return done.stdout.strip()


def kept(home: Path) -> Iterator[Path]:
    """The databases and JSON files of a home folder; pictures and sounds do not change with a version."""
    if not home.exists():
        return
    folders = [each for each in home.iterdir() if each.is_dir() and not each.is_symlink()]
    for folder in (home, *(each for each in folders if each.name not in ("backups", "files"))):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in (".db", ".json") and path.name != "server.json":
                yield path


def keep(paths: Iterable[Path], backup: Path) -> dict[str, str]:
    """Copy these as they are in this moment, into `backup`; returns where each copy is.

    A server may be using them: SQLite's own backup reads a database in one transaction.

    Raises:
        ServiceError: one cannot be read or written.
    """
    copies: dict[str, str] = {}
    try:
        backup.mkdir(mode=0o700, parents=True)
        for number, path in enumerate(dict.fromkeys(paths)):
            if path.exists():
                copy = backup / f"{number}-{path.name}"
                if path.suffix == ".json":
                    shutil.copy2(path, copy)
                else:
                    with (
                        contextlib.closing(sqlite3.connect(path)) as source,
                        contextlib.closing(sqlite3.connect(copy)) as target,
                    ):
                        source.backup(target)
                copies[str(path)] = str(copy)
    except (OSError, sqlite3.Error) as error:
        raise ServiceError(f"no backup in {backup}: {error}") from None
    return copies


def restore(copies: dict[str, str]) -> None:
    """Put the copies back; what was there, a database's log with it, goes into the folder `after` beside the copy."""
    for path, copy in ((Path(path), Path(copy)) for path, copy in copies.items()):
        after = copy.parent / "after"
        after.mkdir(exist_ok=True)
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            if each.exists():
                shutil.move(each, after / f"{copy.name}{each.name.removeprefix(path.name)}")
        shutil.copy2(copy, path)
