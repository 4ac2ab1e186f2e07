"""Install the pieces of `bench.gpu.wheels` without a network: `python -m bench.gpu.unpack WHEELS FOLDER`.

Needs nothing but Python and pip. FOLDER/site is for PYTHONPATH, FOLDER/environments for `ATELIER_ENVIRONMENTS`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

_PLACES = {"site": "site", "speech": "environments/qwen_tts"}
_PART = re.compile(r"\.whl\.\d+$")


def main(wheels: Path, folder: Path) -> int:
    """Install; how many wheels could not be, each with a line."""
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for kind, place in _PLACES.items():
            whole = assembled(wheels, kind, Path(scratch) / kind)
            if whole and not _install(whole, folder / place):
                # one that does not fit costs a line, not the others
                for wheel in whole:
                    if not _install([wheel], folder / place):
                        print(f"not installed: {wheel.name}", flush=True)
                        failed += 1
    return failed


def assembled(wheels: Path, kind: str, folder: Path) -> list[Path]:
    """The wheels of a kind: whole ones where they lie, cut ones put together in `folder`."""
    whole = sorted(wheels.glob(f"*/{kind}/*.whl"))
    folder.mkdir(parents=True)
    parts = sorted((each for each in wheels.glob(f"*/{kind}/*") if _PART.search(each.name)), key=lambda p: p.name)
    for part in parts:
        with (folder / part.stem).open("ab") as file:
            file.write(part.read_bytes())
    return [*whole, *sorted(folder.glob("*.whl"))]


def _install(wheels: list[Path], folder: Path) -> bool:
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, *map(str, wheels)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
