"""Fetch the wheels that a bare machine with torch lacks: `python -m bench.gpu.wheels FOLDER`.

The versions are those of the lock files, for Python 3.12 on Linux unless it is said otherwise. The wheels lie in
numbered pieces below a size, those of most worth first, so that they can be carried over one by one; a wheel that is
larger than a piece is cut. `bench/on_gpu.sh` puts them together and installs them.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.overhead import ROOT

THERE: Final = frozenset({"torch", "torchvision", "triton", "numpy", "setuptools", "scipy"})
"""What is taken to be on the machine: torch, and what goes with its version."""
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "engines": (
        "diffusers", "transformers", "accelerate", "peft", "safetensors", "open_clip_torch", "llguidance", "pydantic",
        "pyyaml", "psutil", "rich", "httpx", "pillow", "sentencepiece", "protobuf", "packaging", "msgpack",
        "python-multipart", "cachetools", "langcodes", "typer", "tzdata",
    ),
    "quantised": ("bitsandbytes", "torchao", "gguf"),
    "sound": ("av", "soundfile", "soxr", "praat-parselmouth", "espeakng-loader", "num2words"),
    "server": (),
}  # fmt: skip
"""In order of worth; `server` is all that the project needs. `speech`, the last one, has a lock file of its own."""
_PLATFORMS: Final = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)), "manylinux2014_x86_64", "manylinux1_x86_64"
)  # fmt: skip
"""Of a glibc of 2022 (Ubuntu 22.04, Debian 12) and all older ones: pip takes each by its very name."""
_OF_A_TOOLKIT: Final = re.compile(r"/lib\w+_(?:cuda|rocm)\d+\.so$")
"""Of bitsandbytes: a library for each version of CUDA and of ROCm, 3 to 7 MB, of which a machine loads one."""


@dataclass(frozen=True)
class Target:
    """The machine that the wheels are for."""

    python: str
    """Its version: 3.12."""
    builder: str | None
    """A Python of that version on this machine, which builds what has no wheel."""

    @property
    def environment(self) -> dict[str, str]:
        """What markers of requirements ask about."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
        }

    def applies(self, requirement: Requirement, extras: Iterable[str] = ()) -> bool:
        """Whether the machine needs it."""
        marker = requirement.marker
        return marker is None or any(marker.evaluate({**self.environment, "extra": each}) for each in ("", *extras))


def main(arguments: list[str] | None = None) -> int:
    """Fetch; the exit status says how many packages could not be had."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.wheels", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=[*GROUPS, "speech"], default=[*GROUPS, "speech"])
    parser.add_argument("--megabytes", type=float, default=30, help="of a piece at most")
    parser.add_argument("--python", default="3.12", help="the version of the machine's Python")
    parser.add_argument("--builder", help="a Python of that version here, for what has no wheel")
    parser.add_argument("--there", nargs="+", default=[], metavar="NAME", help="packages that the machine has too")
    parser.add_argument("--cuda", help="the version of its torch, 130 for 13.0: libraries for others are left out")
    given = parser.parse_args(arguments)
    target = Target(given.python, given.builder)
    missing: list[str] = []
    piece = Pieces(given.folder, int(given.megabytes * 1e6))
    with tempfile.TemporaryDirectory() as scratch:
        for group, pins in chosen(given.only, target, given.there).items():
            found = Path(scratch) / group
            missing += download(pins, found, target)
            if given.cuda:
                for wheel in found.glob("*.whl"):
                    keep_only_cuda(wheel, given.cuda)
            for wheel in sorted(found.glob("*.whl"), key=lambda each: each.stat().st_size):
                piece.add(wheel, "speech" if group == "speech" else "site")
    print(f"{piece.count} pieces in {given.folder}, {piece.total / 1e6:.0f} MB")
    for line in missing:
        print(f"missing: {line}")
    return len(missing)


def chosen(groups: Iterable[str], target: Target, there: Iterable[str] = ()) -> dict[str, list[str]]:
    """The pins of each group, `name==version`; what an earlier group has is in no later one.

    What is `there` stays out of them, but not what it needs: that may be another version's.
    """
    pins = locked(ROOT / "requirements.lock", target)
    left_out = set(map(canonicalize_name, there))
    taken: set[str] = set(THERE)
    found: dict[str, list[str]] = {}
    for group, roots in GROUPS.items():
        names = closure(roots or project(target), target, taken)
        taken |= names
        if group in groups:
            found[group] = [f"{name}=={pins[name]}" for name in sorted(names - left_out) if name in pins]
    if "speech" in groups:
        own = locked(ROOT / "requirements.qwen_tts.lock", target)
        found["speech"] = [f"{name}=={version}" for name, version in own.items()]
    return found


def project(target: Target) -> list[str]:
    """What pyproject.toml asks for."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    return [each for each in written if target.applies(Requirement(each))]


def closure(roots: Iterable[str], target: Target, without: set[str]) -> set[str]:
    """The names of the packages that these need, themselves among them, as far as they are installed here."""
    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = name + "".join(sorted(requirement.extras))
        if name in without or key in found:
            continue
        found |= {name, key}
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting += [each for each in map(Requirement, needed) if target.applies(each, requirement.extras)]
    return found


def locked(path: Path, target: Target) -> dict[str, str]:
    """Name and version of what a lock file has for the machine."""
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    pins = [Requirement(line) for line in lines if line]
    return {canonicalize_name(pin.name): str(next(iter(pin.specifier)).version) for pin in pins if target.applies(pin)}


def download(pins: list[str], folder: Path, target: Target) -> list[str]:
    """Put the wheels into a folder; of each that could not be had, a line."""
    folder.mkdir(parents=True, exist_ok=True)
    abi = "cp" + target.python.replace(".", "")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--python-version", target.python, "--implementation", "cp"]
    for tag in (abi, "abi3", "none"):
        command += ["--abi", tag]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    without_wheel: list[str] = []
    missing: list[str] = []
    while pins:
        result = subprocess.run([*command, *pins], capture_output=True, text=True)
        if result.returncode == 0:
            break
        found = re.search(r"No matching distribution found for (\S+)", result.stderr)
        if found is None or found[1] not in pins:
            return [f"{', '.join(pins)}: {(result.stderr.strip() or 'pip failed').splitlines()[-1]}"]
        without_wheel.append(found[1])  # one of them ends the whole download
        pins = [pin for pin in pins if pin != found[1]]
    for pin in without_wheel:
        if target.builder is None:
            missing.append(f"{pin}: there is no wheel for it")
            continue
        build = [target.builder, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), pin]
        result = subprocess.run(build, capture_output=True, text=True)
        if result.returncode:
            missing.append(f"{pin}: {(result.stderr.strip() or 'pip failed').splitlines()[-1]}")
    return missing


def keep_only_cuda(wheel: Path, version: str) -> None:
    """Take the libraries for other versions of CUDA, and for ROCm, out of a wheel, where it has any."""
    with zipfile.ZipFile(wheel) as whole:
        built = {name for name in whole.namelist() if _OF_A_TOOLKIT.search(name)}
        others = {name for name in built if not name.endswith(f"_cuda{version}.so")}
        if not others or others == built:
            return
        smaller = wheel.with_suffix(".new")
        with zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as kept:
            for each in whole.infolist():
                if each.filename in others:
                    continue
                content = whole.read(each)
                if each.filename.endswith(".dist-info/RECORD"):
                    lines = content.splitlines(keepends=True)
                    content = b"".join(line for line in lines if line.split(b",")[0].decode() not in others)
                kept.writestr(each, content)
    smaller.replace(wheel)


class Pieces:
    """Numbered folders, none larger than `most` bytes: FOLDER/00/site/NAME.whl, or NAME.whl.000 for a part of one."""

    def __init__(self, folder: Path, most: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._most = folder, most
        self._sizes: list[int] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sizes)

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(self._sizes)

    def add(self, wheel: Path, kind: str) -> None:
        """Put a wheel into the last piece, or into new ones."""
        content = wheel.read_bytes()
        if len(content) <= self._most:
            self._put(kind, wheel.name, content)
            return
        for number, begin in enumerate(range(0, len(content), self._most)):
            self._put(kind, f"{wheel.name}.{number:03}", content[begin : begin + self._most])

    def _put(self, kind: str, name: str, content: bytes) -> None:
        if not self._sizes or self._sizes[-1] + len(content) > self._most:
            self._sizes.append(0)
        self._sizes[-1] += len(content)
        folder = self._folder / f"{self.count - 1:02}" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
