"""This machine: GPU against torch, memory, disks, HAProxy, and packages that the configuration needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psutil
from rich.filesize import decimal

import settings
from cli.environment import ROOT, as_typed, haproxy_binary
from cli.examination.finding import Finding

_SECONDS: Final = 60.0
"""For a driver or torch to answer; one that hangs is a finding too."""
_TORCH: Final = """
import json, torch
mps = torch.backends.mps.is_available()
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"version": torch.__version__, "built_for": torch.version.cuda, "gpus": names, "mps": mps}))
"""
_ROOM: Final = 5_000_000_000
_PACKAGES: Final = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}
_MLX: Final = {"diffusion_mlx": "mlx_vlm", "vlm_mlx": "mlx_vlm", "mlx_audio": "mlx_audio"}


def gpu(configured: settings.Settings, _: Path) -> list[Finding]:
    """Whether torch reaches the GPU that the driver shows, and the one that the configuration wants."""
    try:
        torch: dict[str, Any] = json.loads(_said(sys.executable, "-c", _TORCH))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [Finding("problem", "torch", f"does not start: {_reason(error)}", "make install-deps")]
    found = [Finding("ok", "torch", f"{torch['version']}, built for {_built_for(torch)}")]
    shown = _driver()
    users = [
        alias
        for alias, entry in configured.models.items()
        if configured.is_deployed(alias) and (entry.gpus or entry.device.startswith("cuda"))
    ]
    if torch["gpus"]:
        found.append(Finding("ok", "GPU", ", ".join(torch["gpus"])))
    elif isinstance(shown, list) and shown:
        reason = "torch is built without CUDA" if not torch["built_for"] else "the driver may be too old for it"
        mend = (
            f"{as_typed('uv')} pip install --python {sys.executable} --reinstall --torch-backend=auto torch torchvision"
            if not torch["built_for"]
            else "sudo ubuntu-drivers install (https://www.nvidia.com/drivers elsewhere)"
        )
        found.append(
            Finding("problem", "GPU", f"{', '.join(shown)} is there, but torch does not see it: {reason}", mend)
        )
    elif isinstance(shown, str):
        found.append(
            Finding("problem", "GPU", f"nvidia-smi fails: {shown}", "sudo modprobe nvidia, or restart the machine")
        )
    elif users:
        what = f"there is none, and the configuration gives one to {', '.join(users)}"
        found.append(Finding("problem", "GPU", what, "make run CONFIG=serve_config.yaml"))
    else:
        found.append(Finding("ok", "GPU", "Apple's, by MPS" if torch["mps"] else "none, and none is needed"))
    if not torch["mps"] and any(e.device == "mps" for a, e in configured.models.items() if configured.is_deployed(a)):
        found.append(
            Finding("problem", "GPU", "the configuration wants Apple's, which is not here", "set device: auto")
        )
    return found


def memory(configured: settings.Settings, _: Path) -> list[Finding]:
    """Whether each model fits into the memory of this machine, and how much of it is free."""
    there = psutil.virtual_memory()
    found = [
        Finding(
            "problem",
            "memory",
            f"{alias} takes {decimal(entry.memory)} of the {decimal(there.total)} that there are",
            f"lower models.{alias}.memory, or choose a smaller checkpoint",
        )
        for alias, entry in configured.models.items()
        if configured.is_deployed(alias) and entry.memory and entry.memory > there.total
    ]
    said = f"{decimal(there.available)} of {decimal(there.total)} available"
    if there.available < 0.1 * there.total:
        return [*found, Finding("warning", "memory", said, "end other programs: ps aux --sort=-rss | head")]
    return [*found, Finding("ok", "memory", said)]


def disks(configured: settings.Settings, _: Path) -> list[Finding]:
    """Whether the folders that are written to can be, and have room."""
    from huggingface_hub.constants import HF_HUB_CACHE

    places = (
        ("ATELIER_HOME", configured.folder, configured.least_free_bytes, "ATELIER_HOME=…"),
        ("checkpoints", Path(HF_HUB_CACHE), 0, "HF_HOME=…"),
        ("temporary files", Path(tempfile.gettempdir()), configured.least_free_bytes, "TMPDIR=…"),
    )
    return [_room(*place) for place in places]


def haproxy(_: settings.Settings, __: Path) -> list[Finding]:
    """Whether the HAProxy in front of Serve starts."""
    binary = haproxy_binary()
    if binary is None:
        mend = "brew install haproxy" if sys.platform == "darwin" else f"sh {ROOT / 'deploy' / 'venv.sh'}"
        return [Finding("warning", "HAProxy", "is not there; Serve's own, slower proxy is used", mend)]
    try:
        return [Finding("ok", "HAProxy", _said(binary, "-v").splitlines()[0].partition(" - ")[0])]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return [Finding("problem", "HAProxy", f"{binary} does not start: {_reason(error)}", "make install-deps")]


def packages(configured: settings.Settings, _: Path) -> list[Finding]:
    """Whether what only some engines and options need is installed."""
    found = []
    for alias, entry in configured.models.items():
        if not configured.is_deployed(alias):
            continue
        loading = entry.options.get("loading", {})
        needed = [_PACKAGES.get(loading.get("quantization", "none")), "gguf" if loading.get("gguf") else None]
        for package in (*needed, _MLX.get(entry.engine)):
            if package and find_spec(package) is None:
                mend = f"sh {ROOT / 'deploy' / 'venv.sh'}{'' if package.startswith('mlx') else ' gpu'}"
                found.append(Finding("problem", "packages", f"{alias} needs {package}, which is not installed", mend))
    for name in configured.environments:
        folder = Path(sys.prefix) / "environments" / name
        if not (folder / "installed").exists():
            what = f"those of {name} are not installed yet; the start does it"
            found.append(Finding("warning", "packages", what, f"sh {ROOT / 'deploy' / 'environment.sh'} {name}"))
    return found or [Finding("ok", "packages", "all that the configuration needs is installed")]


def _room(about: str, folder: Path, least: int, mend: str) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding("problem", about, f"cannot write to {there}: {error.strerror}", f"choose another with {mend}")
    said = f"{folder}: {decimal(free)} free"
    if free < least:
        return Finding("problem", about, f"{said}, {decimal(least)} are needed", f"choose another with {mend}")
    if free < _ROOM:
        return Finding(
            "warning", about, said, f"make room: du -xh {there} | sort -h | tail, or choose another with {mend}"
        )
    return Finding("ok", about, said)


def _driver() -> list[str] | str | None:
    """The GPUs that nvidia-smi shows, why it fails, or None where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        lines = _said(
            "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
        ).splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return _reason(error)
    return [line.strip() for line in lines]


def _built_for(torch: dict[str, Any]) -> str:
    return f"CUDA {torch['built_for']}" if torch["built_for"] else "Apple's GPU" if torch["mps"] else "the CPU"


def _said(*command: str) -> str:
    """What a program prints."""
    done = subprocess.run(  # noqa: S603 - no shell, and programs of this machine
        command, capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:g} s"
    said = str(getattr(error, "stderr", None) or getattr(error, "stdout", None) or error).strip()
    return said.splitlines()[-1] if said else type(error).__name__
