"""`python -m bench.gpu --out FOLDER`: run the parts on the GPU; the exit status says how many failed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench.gpu.parts import PARTS
from bench.gpu.runner import run

_MOST_STATUS = 100
_DRAWN = "draw weights on the device in the place of writing and reading them: far quicker, and nothing about loading"


def main(arguments: list[str] | None = None) -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument("--tiny", action="store_true", help="tiny checkpoints on the CPU")
    parser.add_argument(
        "--only", nargs="+", metavar="PART", choices=names, help=f"in this order, out of {', '.join(names)}"
    )
    parser.add_argument("--drawn", action="store_true", help=_DRAWN)
    parser.add_argument("--list", action="store_true", help="say what the parts are")
    parser.add_argument("--seconds", type=float, default=530, help="the whole run takes at most (default: 530)")
    parser.add_argument("--out", type=Path, default=Path("gpu-run"), help="folder for gpu.json, gpu.md and the logs")
    given = parser.parse_args(arguments)
    if given.list:
        for part in PARTS:
            print(f"{part.name:12} {part.title}; at most {part.seconds:.0f} s")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    # before any part imports torch; see models/devices.py
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    by_name = {part.name: part for part in PARTS}
    chosen = [by_name[name] for name in dict.fromkeys(given.only or names)]
    report = run(chosen, given.out.resolve(), tiny=given.tiny, seconds=given.seconds, note=_note, drawn=given.drawn)
    print(report.save_table())
    return min(report.failed, _MOST_STATUS)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
