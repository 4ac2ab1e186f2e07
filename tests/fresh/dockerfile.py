"""Carries out deploy/container/Dockerfile without Docker, in roots of Debian that mmdebstrap made.

    python tests/fresh/dockerfile.py BASE FOLDER TARGET

BASE is a root of Debian, which stands for `debian:…-slim`. The target's root is made in FOLDER, and what runs in it is
written to the output as JSON: environment, user, command, health check. As root, on Linux. It knows the instructions
that the file has, and ends at any other, so that none is passed over.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "container" / "Dockerfile"
PASSED: Final = ("SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_HTTP_TIMEOUT")
"""This machine's way to the registries, which Docker has in its own network."""


@dataclass
class Stage:
    """An image that comes to be."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def expanded(self, text: str) -> str:
        """The text with the variables of the build in it."""
        known = {**self.arguments, **self.environment}
        return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ""), text)

    def inside(self, path: str) -> Path:
        """Where a path of the image is here."""
        return self.root / Path(self.folder, path).as_posix().lstrip("/")


def instructions() -> list[tuple[str, str]]:
    """The file's instructions, comments left out and continued lines put together."""
    text = re.sub(r"\\\n", " ", "\n".join(x for x in DOCKERFILE.read_text().splitlines() if not x.startswith("#")))
    found = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, rest) for name, rest in found]


def build(base: Path, folder: Path, target: str) -> Stage:
    """Make the stages up to the target; returns it."""
    stages: dict[str, Stage] = {}
    needed = ancestry(target)
    stage: Stage | None = None
    for name, rest in instructions():
        if name == "FROM":
            parent, _, alias = rest.split()
            stage = None
            if alias not in needed:
                continue
            root = folder / alias
            copy_tree(stages[parent].root if parent in stages else base, root)
            old = stages.get(parent)
            stage = Stage(root)
            if old:
                stage.environment, stage.folder, stage.user = dict(old.environment), old.folder, old.user
                stage.entrypoint, stage.command, stage.health = old.entrypoint, old.command, old.health
            stages[alias] = stage
        elif stage is not None:
            step(stage, stages, name, rest)
    return stages[target]


def ancestry(target: str) -> set[str]:
    """The stages that the target is made of."""
    parents: dict[str, set[str]] = {}
    alias = ""
    for name, rest in instructions():
        if name == "FROM":
            parent, _, alias = rest.split()
            parents[alias] = {parent}
        elif name == "COPY" and (source := re.match(r"--from=(\S+)", rest)):
            parents[alias].add(source[1])
    found: set[str] = set()
    waiting = [target]
    while waiting:
        each = waiting.pop()
        if each in parents and each not in found:
            found.add(each)
            waiting += parents[each]
    return found


def step(stage: Stage, stages: dict[str, Stage], name: str, rest: str) -> None:
    """One instruction."""
    if name == "ARG":
        key, _, value = rest.partition("=")
        stage.arguments[key] = value
    elif name == "ENV":
        stage.environment |= dict(each.split("=", 1) for each in shlex.split(rest))
    elif name == "WORKDIR":
        stage.folder = rest
        stage.inside(".").mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        stage.user = rest
    elif name == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif name == "CMD":
        stage.command = json.loads(rest)
    elif name == "HEALTHCHECK":
        stage.health = json.loads(rest.split(" CMD ", 1)[1])
    elif name == "COPY":
        copy(stage, stages, rest.split())
    elif name == "RUN":
        sys.stderr.write(f"+ {rest}\n")
        passed = {key: os.environ[key] for key in PASSED if key in os.environ}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "HOME": "/root", **passed, **stage.arguments, **stage.environment}
        script = f"cd {shlex.quote(stage.folder)} && {rest}"
        enter = 'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh -euc "$2"'
        subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", enter, "sh", str(stage.root), script],
            env=environment, check=True, stdout=sys.stderr,
        )  # fmt: skip
    elif name not in ("EXPOSE", "VOLUME", "STOPSIGNAL"):
        raise SystemExit(f"{DOCKERFILE}: {name} is not known here")


def copy(stage: Stage, stages: dict[str, Stage], words: list[str]) -> None:
    """COPY from the repository, what .dockerignore leaves of it, or from another stage."""
    if words[0].startswith("--from="):
        source, target = words[1:]
        copy_tree(stages[words[0].removeprefix("--from=")].root / source.lstrip("/"), stage.inside(target))
        return
    *sources, target = words
    files = [path for path in committed() if any(s == "." or path == s or path.startswith(f"{s}/") for s in sources)]
    assert files, sources
    for path in files:
        single = len(sources) == 1 and not target.endswith("/")
        relative = path if sources == ["."] else Path(path).name
        goal = stage.inside(target) if single else stage.inside(target) / relative
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, goal)


def committed() -> list[str]:
    """The files that Docker would be sent: those of git, as .dockerignore has them. The last line that fits decides."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [path for path in listed if path and not is_ignored(path, rules)]


def is_ignored(path: str, rules: list[str]) -> bool:
    """Whether the rules leave the path out."""
    ignored = False
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = parts if rule.removeprefix("!").startswith("**/") else above
        if any(fnmatch.fnmatchcase(each, pattern) for each in names):
            ignored = not rule.startswith("!")
    return ignored


def copy_tree(source: Path, target: Path) -> None:
    """A copy that shares the files' bytes where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(target)], check=True)


if __name__ == "__main__":
    done = build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stdout.write(json.dumps({key: str(value) if key == "root" else value for key, value in vars(done).items()}))
