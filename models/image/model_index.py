"""A diffusers checkpoint's model_index.json, which names its pipeline class and components."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from models import checkpoints
from models.entry import ModelEntry
from models.errors import CheckpointError

FILE: Final = "model_index.json"


def read_index(entry: ModelEntry) -> dict[str, Any]:
    """The index of an entry's checkpoint, from disk or from the hub.

    Raises:
        CheckpointError: it has none.
    """
    folder = checkpoints.local_folder(entry.checkpoint)
    if folder is not None:
        path = folder / FILE
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(entry.checkpoint, FILE, revision=entry.revision))
        except LocalEntryNotFoundError:  # an EntryNotFoundError too, but it means that the hub is out of reach
            raise
        except EntryNotFoundError:
            path = Path(FILE)
    if not path.is_file():
        raise CheckpointError(f"{entry.checkpoint!r} has no {FILE}: it is not a diffusers checkpoint")
    index: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return index


def index_on_disk(entry: ModelEntry) -> dict[str, Any] | None:
    """The index of a checkpoint that is in a folder or was downloaded before; None else: loading says what is wrong."""
    try:
        folder = checkpoints.local_folder(entry.checkpoint)
        if folder is None:
            from huggingface_hub import try_to_load_from_cache

            found = try_to_load_from_cache(entry.checkpoint, FILE, revision=entry.revision)
            if not isinstance(found, str):
                return None
            folder = Path(found).parent
        return _index_in(folder)
    except (CheckpointError, OSError, ValueError):
        return None


@cache
def _index_in(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / FILE).read_bytes())
    return index
