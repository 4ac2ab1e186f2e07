"""`atelier config init`: a serve_config.yaml that fits this machine, with the reasons as comments."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer

from cli.config_files import written
from cli.config_table import CPU, MACHINES
from cli.environment import MISTAKE
from cli.outputs import ResultAsJson
from cli.up import fail

app = typer.Typer(help="Configuration files.", no_args_is_help=True)

_SECONDS: Final = 30.0
_NOMINAL: Final = 0.93
"""Of what a GPU is sold as, at least so much is seen: one of 48 GB with error correction has 46 GB, of 2**30 bytes."""


@app.callback()
def config() -> None:
    """Configuration files."""


@app.command()
def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("serve_config.yaml"),
    machine: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(MACHINES)}; else this one.", show_default=False)
    ] = None,
    to_stdout: Annotated[bool, typer.Option("--print", help="Print it instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: ResultAsJson = False,
) -> None:
    """Write a configuration that fits this machine, or another one that is named."""
    reason = None
    if machine is None:
        machine, reason = this_machine()
        if not as_json:
            print(f"{machine}: {reason}", file=sys.stderr)
    elif machine not in MACHINES:
        fail(f"--machine: {machine!r} is none of {', '.join(MACHINES)}", status=MISTAKE)
    text = written(machine, str(output))
    if to_stdout:
        if as_json:
            text = json.dumps({"machine": machine, "reason": reason, "configuration": text}) + "\n"
        print(text, end="")
        return
    try:
        _write(output, text, over=force)
    except FileExistsError:
        fail(f"{output} is there already; --force writes over it, -o names another", status=MISTAKE)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}", status=1)
    if as_json:
        print(json.dumps({"machine": machine, "reason": reason, "file": str(output.absolute())}))
        return
    print(
        f"wrote {output}, for {machine}; next: atelier pull --config {output}, then make run CONFIG={output.absolute()}"
    )


def this_machine() -> tuple[str, str]:
    """Which of `MACHINES` this one is, and why."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return for_mac(psutil.virtual_memory().total)
    return for_gpu(_gpu_bytes())


def for_mac(total: int) -> tuple[str, str]:
    """The machine for a Mac with so many bytes of memory."""
    said = f"a Mac with Apple silicon and {total / 2**30:.0f} GB"
    if found := _largest("mac", total / 2**30):
        return found, said
    return CPU, f"{said}, of which released models need 16"


def for_gpu(total: int | None) -> tuple[str, str]:
    """The machine for a GPU with so many bytes of memory; None: there is no GPU that can be asked."""
    if total is None:
        return CPU, "no NVIDIA GPU answers (atelier doctor says more)"
    said = f"an NVIDIA GPU of {total / 2**30:.0f} GB"
    if found := _largest("gpu", total / 2**30):
        return found, said
    return CPU, f"{said}, of which the released models of gpu:24 need 24; docs/gpu.md has smaller ones"


def _largest(kind: str, there: float) -> str | None:
    """The largest machine of a kind that has no more memory than is there, in GB."""
    sizes = [int(each.partition(":")[2]) for each in MACHINES if each.startswith(f"{kind}:")]
    return next((f"{kind}:{size}" for size in sorted(sizes, reverse=True) if there >= _NOMINAL * size), None)


def _gpu_bytes() -> int | None:
    """Of the smallest GPU, since a model may be given any of them."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
        return min(int(line) for line in done.stdout.splitlines()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _write(path: Path, text: str, *, over: bool) -> None:
    """Write the whole file or none of it.

    Raises:
        FileExistsError: it is there, and is not to be written over.
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        if over:
            Path(name).replace(path)
        else:
            path.hardlink_to(name)  # fails where there is a file, also one that has just come
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
