"""Where a checkpoint lies on disk, how it comes there from the hub, and a name for its weights."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from models.errors import CheckpointError

if TYPE_CHECKING:
    from models.entry import ModelEntry

logger = logging.getLogger("ray.serve")

_HUB_SECONDS: Final = 10.0
_PROGRESS_SECONDS: Final = 0.5
_TEXTS: Final = {".json", ".txt", ".model", ".py", ".jinja", ".tiktoken", ".vocab"}
_VARIANT: Final = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-]|^consolidated")
_UNUSED: Final = "safety_checker"
"""A component that the diffusion engine leaves out."""


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


def hub_id(checkpoint: str) -> str | None:
    """The ORGANISATION/NAME of a checkpoint on the hub, None for one on disk or of another place."""
    name = checkpoint.removeprefix("hf-hub:")
    is_on_disk = checkpoint.startswith("local-dir:") or local_folder(checkpoint) is not None
    return None if is_on_disk or name.count("/") != 1 else name


def download(entry: ModelEntry, note: Callable[[int, int], object]) -> bool:
    """Have on disk what a load of a checkpoint will want from the hub; `note` hears of bytes there and bytes in all.

    False when the hub does not answer: what is on disk already may still be enough. What is chosen is what most
    libraries load; anything else is left for them to download as they load.
    """
    name = hub_id(entry.checkpoint)
    if name is None:
        return True
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    try:
        info = HfApi().model_info(name, revision=entry.revision, timeout=_HUB_SECONDS, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        components = _components(name, info.sha) if "model_index.json" in sizes else None
        loading = entry.options.get("loading", {})
        replaced = {_UNUSED, "transformer"} if loading.get("gguf") else {_UNUSED}
        chosen = chosen_files(sizes, components, loading.get("variant"), replaced)
        modules = _modules(name, info.sha) if "modules.json" in sizes else ()
        wanted = {file: sizes[file] for file in (*chosen, *module_files(sizes, modules))}
        if wanted and _bytes_on_disk(name, info.sha, wanted) < sum(wanted.values()):
            logger.info("%s: %.1f MB are downloaded", entry.checkpoint, sum(wanted.values()) / 1e6)
            with _watched(lambda: note(_bytes_on_disk(name, info.sha, wanted), sum(wanted.values()))):
                snapshot_download(name, revision=entry.revision, allow_patterns=[glob.escape(file) for file in wanted])
    except Exception as error:  # noqa: BLE001 - whatever it is, the load says what is missing
        logger.warning("%s could not be downloaded: %s", entry.checkpoint, error)
        return False
    return True


@contextmanager
def without_hub() -> Iterator[None]:
    """While it is not asked: a load then finds at once what is on disk, or that it is not there."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def chosen_files(
    names: Collection[str],
    components: Collection[str] | None = None,
    variant: str | None = None,
    replaced: Collection[str] = (),
) -> list[str]:
    """Of a repository's files those that its libraries load: texts, and weights in one format.

    `components` are the folders of a pipeline, those that are `replaced` without their weights; other repositories
    have what counts on top. Of weights in several precisions those of the `variant`, where there are any.
    """
    folders = {"."} if components is None else {".", *components}
    kept = [path for name in sorted(names) if str((path := PurePosixPath(name)).parent) in folders]
    chosen = []
    for folder in folders:
        mine = [path for path in kept if str(path.parent) == folder]
        chosen += [path for path in mine if path.suffix in _TEXTS]
        if folder in replaced or (folder == "." and components is not None):
            continue  # on top of a pipeline lie whole ones in one file, for other programs
        plain = [path for path in mine if not _VARIANT.search(path.name)]
        weights = [path for path in mine if variant and re.search(rf"\.{re.escape(variant)}[.-]", path.name)] or plain
        formats = ([path for path in weights if path.suffix == suffix] for suffix in (".safetensors", ".bin"))
        chosen += next((found for found in formats if found), [])
    return sorted(map(str, chosen))


def module_files(names: Collection[str], modules: Collection[str]) -> list[str]:
    """Of a repository's files those in the folders of sentence-transformers' `modules`: how it pools, say."""
    return [
        name
        for name in sorted(names)
        if str((path := PurePosixPath(name)).parent) in modules and path.suffix in (".json", ".safetensors")
    ]


def _modules(name: str, revision: str | None) -> list[str]:
    from huggingface_hub import hf_hub_download

    listed: list[Mapping[str, str]] = json.loads(
        Path(hf_hub_download(name, "modules.json", revision=revision)).read_text(encoding="utf-8")
    )
    return [each["path"] for each in listed if each.get("path")]


def _components(name: str, revision: str | None) -> list[str]:
    from huggingface_hub import hf_hub_download

    index: Mapping[str, object] = json.loads(
        Path(hf_hub_download(name, "model_index.json", revision=revision)).read_text(encoding="utf-8")
    )
    return [each for each in index if not each.startswith("_")]


def _bytes_on_disk(name: str, revision: str | None, wanted: Mapping[str, int]) -> int:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    whole = sum(
        size for file, size in wanted.items() if isinstance(try_to_load_from_cache(name, file, revision=revision), str)
    )
    blobs = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "blobs"
    return whole + sum(_size(path) for path in blobs.glob("*.incomplete"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just become whole
        return 0


@contextmanager
def _watched(look: Callable[[], object]) -> Iterator[None]:
    """While `look` is called now and then, from a thread of its own; once at the end in any case."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_PROGRESS_SECONDS):
            look()

    watcher = threading.Thread(target=watch, daemon=True, name="download-progress")
    look()
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        look()
