"""The base of every engine: loading, unloading, footprint, warm-up, in one place.

Each kind has a base of its own (`models/image/engine.py` …). An engine fills in the hooks `_load` and `_warm_up` and
the method of its kind (`ImageEngine.stream` …). It imports its heavy libraries inside them, never at the top of its
module, so that reading a configuration costs nothing.
Engines are not re-entrant, but for those that say so: a replica calls its engine from one thread.
"""

from __future__ import annotations

import atexit
import gc
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from models.checkpoints import HubSource, hub_id, local_folder
from models.devices import first_line, free_device_cache, is_device_lost, is_out_of_memory
from models.entry import ModelEntry
from models.errors import CheckpointError, DeviceLost, ModelError, OutOfMemory


class Options(BaseModel):
    """The `options` of an engine in the catalogue entry; each engine has its own subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Engine(ABC):
    """One checkpoint, loaded or not."""

    Options: ClassVar[type[Options]] = Options
    marker: ClassVar[str] = "config.json"
    """The file by which a checkpoint folder of this engine's kind is known."""
    reentrant: ClassVar[bool] = False
    """Whether calls may overlap: a replica then has a thread for each request that it holds."""
    is_on_hub: ClassVar[bool] = True
    """Whether a checkpoint that is not on disk is one of the Hugging Face hub."""
    is_remote: ClassVar[bool] = False
    """Whether the model runs elsewhere: it takes no memory here, and a job that is done twice may be paid twice."""
    environment: ClassVar[str | None] = None
    """The NAME of requirements.NAME.lock, for an engine whose packages would not go together with the server's."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.options: Any = self.Options.model_validate(entry.options)
        self.loaded = False
        self.load_seconds = 0.0

    def load(self) -> None:
        """Bring the checkpoint into memory.

        Raises:
            CheckpointError: it is missing, unreadable or of another kind; the message says which and what to do.
            OutOfMemory: it does not fit on the device.
            DeviceLost: no process but a new one can use the device.
        """
        if self.loaded:
            return
        begun = time.monotonic()
        try:
            with _few_collections():
                self._load()
        except Exception as error:  # each format and hub library has its own family of errors
            if is_device_lost(error):  # nothing can be given back
                raise DeviceLost(f"the device broke and needs a new process: {first_line(error)}") from error
            self.unload()
            if isinstance(error, ModelError):
                raise
            wrong = f"{self.entry.checkpoint!r} could not be loaded as {self.entry.engine}: {first_line(error)}"
            raise (OutOfMemory if is_out_of_memory(error) else CheckpointError)(wrong) from error
        self.loaded = True
        self.load_seconds = time.monotonic() - begun

    def unload(self) -> None:
        """Forget the checkpoint and give its memory back."""
        kept = ("entry", "options", "loaded", "load_seconds")
        for name in [n for n in vars(self) if n not in kept]:
            delattr(self, name)
        self.loaded = False
        if not self.is_remote:  # a remote model holds nothing here
            gc.unfreeze()
            gc.collect()
            free_device_cache()

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse a checkpoint on disk that is plainly missing or of another kind, without loading anything.

        Raises:
            CheckpointError: in one line.
        """
        folder = local_folder(entry.checkpoint)
        if folder is None:
            return
        if not (folder / cls.marker).is_file():
            raise CheckpointError(
                f"{entry.checkpoint!r} has no {cls.marker}: it is not a checkpoint for the engine {entry.engine!r}"
            )
        try:
            config = json.loads((folder / cls.marker).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{entry.checkpoint!r}: {cls.marker} cannot be read: {first_line(error)}") from None
        if isinstance(config, dict) and (wrong := cls._mismatch(config)):
            raise CheckpointError(f"{entry.checkpoint!r} {wrong}")

    @classmethod
    def weights(cls, entry: ModelEntry) -> tuple[ModelEntry, ...]:
        """An entry for each checkpoint that its results come from: where one changes, so do they."""
        return (entry,)

    @classmethod
    def hub_sources(cls, entry: ModelEntry) -> list[HubSource]:
        """What a load takes from the hub, the checkpoint itself first; nothing where that is on disk or elsewhere."""
        name = hub_id(entry.checkpoint) if cls.is_on_hub else None
        return [] if name is None else [HubSource(name, entry.revision, is_whole=cls._takes_whole_repository(entry))]

    @classmethod
    def _takes_whole_repository(cls, entry: ModelEntry) -> bool:  # noqa: ARG003 - for those who override it
        """Whether a load takes everything that a repository holds, rather than what most libraries do."""
        return False

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:  # noqa: ARG003 - for those who override it
        """Why a checkpoint whose marker file says `config` is plainly not for this engine; None when it may be."""
        return None

    @property
    def footprint(self) -> int:
        """Bytes of the parameters and buffers in memory; 0 when not loaded."""
        return sum(_module_bytes(m) for m in self._modules()) if self.loaded else 0

    def warm_up(self) -> None:
        """Do the first, slow call on a small input, so that no caller waits for it."""
        if self.loaded:
            self._warm_up()

    @abstractmethod
    def _load(self) -> None: ...

    def _modules(self) -> Sequence[Any]:
        """The torch modules whose parameters count towards the footprint."""
        return ()

    def _warm_up(self) -> None:
        return


@contextmanager
def _few_collections() -> Iterator[None]:
    """Around loading: no garbage collection meanwhile, nor later of what stays.

    Importing a library makes millions of objects that live as long as the process; looking through them again and
    again is a fifth of a cold start (5.1 s of processor time without this, 4.0 s with it), and later a pause of a
    tenth of a second now and then.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.unregister(gc.unfreeze)
        atexit.register(gc.unfreeze)  # or else some libraries report everything they ever made as leaked
        if was_enabled:
            gc.enable()


def _module_bytes(module: Any) -> int:
    return sum(_tensor_bytes(t) for t in (*module.parameters(), *module.buffers()))


def _tensor_bytes(tensor: Any) -> int:
    if hasattr(tensor, "__tensor_flatten__"):  # a quantised one, which speaks of the dtype that it stands for
        names, _ = tensor.__tensor_flatten__()
        return sum(_tensor_bytes(getattr(tensor, name)) for name in names)
    size: int = tensor.numel() * tensor.element_size()
    return size
