"""Where a checkpoint lies on disk, and a name for its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import CheckpointError

if TYPE_CHECKING:
    from models.catalog import ModelEntry


def local_folder(checkpoint: str) -> Path | None:
    """The folder of a checkpoint that is on disk (`builtin:NAME`, or a path), None for a hub id.

    Raises:
        CheckpointError: it is written as a path or a built-in name, and nothing is there.
    """
    if checkpoint.startswith("builtin:"):
        folder = Path(__file__).parent / "builtin" / checkpoint.removeprefix("builtin:")
        if not folder.is_dir():
            names = ", ".join(sorted(p.name for p in folder.parent.iterdir() if p.is_dir()))
            raise CheckpointError(f"there is no built-in checkpoint {checkpoint!r}; there are: {names}")
        return folder
    try:
        folder = Path(checkpoint).expanduser()
    except RuntimeError:
        raise CheckpointError(f"{checkpoint!r}: whose home ~ stands for is not known here") from None
    if folder.is_dir():
        return folder
    if checkpoint.startswith(("/", ".", "~")):
        raise CheckpointError(f"no checkpoint folder at {checkpoint!r}")
    return None


def fingerprint(entry: ModelEntry) -> str:
    """A name that changes with the weights: a hub id, or a hash over the weight files of a folder.

    Of each file the first 4 MiB and the size are read, which tells trainings apart at no cost.
    """
    folder = local_folder(entry.checkpoint)
    if folder is None:
        return entry.checkpoint
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(4 * 2**20))
    return f"sha256:{digest.hexdigest()[:32]}"
