"""Where a checkpoint lies on disk, how it comes there from the hub, and a name for its weights."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from models.errors import CheckpointError

if TYPE_CHECKING:
    from models.entry import ModelEntry

logger = logging.getLogger("ray.serve")

Note = Callable[[int, int], object]
"""Hears of the bytes that are there, and of those in all."""

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
    if checkpoint.startswith(("local-dir:", "builtin:", "/", ".", "~")):
        return None  # whether it is there or not: loading says so
    name = checkpoint.removeprefix("hf-hub:")
    return None if name.count("/") != 1 or local_folder(checkpoint) is not None else name


@dataclass(frozen=True)
class HubSource:
    """What a model loads of one repository of the hub; see `chosen_files` for what is taken of it.

    `variant` and `replaced` are as there. `file`: only this one is wanted. `is_whole`: everything is.
    """

    name: str
    revision: str | None = None
    variant: str | None = None
    replaced: tuple[str, ...] = ()
    file: str | None = None
    is_whole: bool = False


def download(sources: Sequence[HubSource], note: Note) -> bool:
    """Have on disk what a load will want from the hub; `note` hears of bytes there and bytes in all, of each source.

    False when the first, the checkpoint itself, cannot be had: what is on disk already may still be enough. What goes
    wrong with the others is logged only, as a model may do without them until they are used.
    """
    is_had = True
    for number, source in enumerate(sources):
        try:
            fetch(source, note)
        except CheckpointError as error:
            logger.warning("%s", error)
            is_had = is_had and number > 0
    return is_had


def fetch(source: HubSource, note: Note) -> None:
    """Have on disk what is loaded of a repository: whole files stay, begun ones go on, damaged ones go.

    What is chosen is what most libraries load; anything else is left for them to download as they load.

    Raises:
        CheckpointError: in one line, with what to do where something can be done.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"{source.name} is not looked for: HF_HUB_OFFLINE keeps everything from the hub")
    try:
        _fetch(source, note)
    except Exception as error:  # whatever it is: the hub's client, the network and the disk have families of their own
        raise CheckpointError(f"{source.name} could not be downloaded: {_what_helps(source.name, error)}") from error


def _fetch(source: HubSource, note: Note) -> None:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    name = source.name
    info = HfApi().model_info(name, revision=source.revision, timeout=_HUB_SECONDS, files_metadata=True)
    wanted = _wanted_files(source, info.sha, {file.rfilename: file.size or 0 for file in info.siblings or ()})
    total = sum(wanted.values())
    for file in _damaged(name, info.sha, wanted):
        logger.warning("%s: %s is not of the size that the hub says, and is downloaded again", name, file)
        hf_hub_download(name, file, revision=info.sha, force_download=True)
    if _whole_bytes(name, info.sha, wanted) == total:
        note(total, total)
        return
    logger.info("%s: %.1f MB are downloaded", name, total / 1e6)
    with _watched(lambda: note(_bytes_on_disk(name, info.sha, wanted), total)):
        snapshot_download(name, revision=source.revision, allow_patterns=[glob.escape(file) for file in wanted])


def _wanted_files(source: HubSource, revision: str | None, sizes: Mapping[str, int]) -> dict[str, int]:
    """Of a repository's files those that are loaded, with their bytes."""
    if source.is_whole:
        return dict(sizes)
    if source.file is not None:
        if source.file not in sizes:
            raise CheckpointError(f"it has no {source.file}")
        return {source.file: sizes[source.file]}
    components = _components(source.name, revision) if "model_index.json" in sizes else None
    chosen = chosen_files(sizes, components, source.variant, {_UNUSED, *source.replaced})
    modules = _modules(source.name, revision) if "modules.json" in sizes else ()
    return {file: sizes[file] for file in (*chosen, *module_files(sizes, modules))}


def _what_helps(name: str, error: Exception) -> str:
    """What went wrong with a download, and what a person can do, in one line."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{name}"
    if isinstance(error, errors.GatedRepoError):
        return f"its licence has to be accepted at {page}, by the account of `hf auth login` (or HF_TOKEN)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {page}, or it is private and needs `hf auth login` (or HF_TOKEN)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{page} has no such revision"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk of {constants.HF_HUB_CACHE} is full; HF_HOME names another folder"
    return next(iter(str(error).splitlines()), "") or type(error).__name__


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
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "blobs"
    return _whole_bytes(name, revision, wanted) + sum(_size(path) for path in blobs.glob("*.incomplete"))


def _whole_bytes(name: str, revision: str | None, wanted: Mapping[str, int]) -> int:
    from huggingface_hub import try_to_load_from_cache

    return sum(
        size for file, size in wanted.items() if isinstance(try_to_load_from_cache(name, file, revision=revision), str)
    )


def _damaged(name: str, revision: str | None, wanted: Mapping[str, int]) -> list[str]:
    """Files that are in the cache with fewer or more bytes than the hub says."""
    from huggingface_hub import try_to_load_from_cache

    found = {file: try_to_load_from_cache(name, file, revision=revision) for file in wanted}
    return [
        file
        for file, path in found.items()
        if isinstance(path, str) and wanted[file] and _size(Path(path)) != wanted[file]
    ]


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
