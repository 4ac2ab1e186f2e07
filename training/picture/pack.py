"""Everything that a bare machine with a GPU, without a network, needs to train the picture model, in one small folder.

`python -m training.picture.pack FOLDER`; `training/on_gpu.sh` unpacks it there. The drawings that train, packed
tightly; what judges and the text encoders, where they have been trained; and libraries that such a machine may lack.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch

from training.art import shelf
from training.loop import RUNS
from training.picture.world import SHARES

_LIBRARIES: Final = ("diffusers",)
_KEPT: Final = (
    "picture/text/model.pt",
    "picture/text/tokenizer/tokenizer.json",
    "picture/text/tokenizer/tokenizer_config.json",
    "picture/recogniser/model.pt",
)
"""What is taken along where it is there."""


def pack(folder: Path) -> None:
    """Write `world.tar.xz` and the libraries' wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, tarfile.open(folder / "world.tar.xz", "w:xz") as packed:
        for design in SHARES:
            with np.load(shelf.path_of(design)) as held:
                usual = np.array([str(name).endswith("|0") for name in held["names"]])
                loose = Path(scratch) / f"{design}.npz"
                # Left loose here: what is packed twice packs badly.
                np.savez(loose, names=held["names"][usual], pixels=held["pixels"][usual], made_from=held["made_from"])
            packed.add(loose, f"art/{design}.npz")
        for kept in _KEPT:
            if (RUNS / kept).exists():
                packed.add(_halved(RUNS / kept, Path(scratch)) if kept.endswith(".pt") else RUNS / kept, kept)
    wanted = [f"{name}=={version(name)}" for name in _LIBRARIES]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *wanted]
    subprocess.run(command, check=True)  # noqa: S603 - our own words


def _halved(weights: Path, scratch: Path) -> Path:
    """A copy in half precision, which loads as what it is loaded into."""
    held = torch.load(weights, weights_only=True, map_location="cpu")
    copy = scratch / f"{weights.parent.name}.pt"
    torch.save({name: each.half() if each.is_floating_point() else each for name, each in held.items()}, copy)
    return copy


def main() -> None:
    """Pack, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    pack(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
