"""LoRA adapters by their configured names, the least recently used ones leaving when too many are loaded."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.checkpoints import HubSource, hub_id, local_folder
from models.devices import first_line, is_out_of_memory
from models.errors import CheckpointError, InferenceFailed, InvalidInput
from models.tasks import LoraUse


class LoraSource(BaseModel):
    """Where an adapter lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str = Field(description="a safetensors file, a folder, or a hub id")
    weight_name: str | None = Field(None, description="the file within a folder or hub id")
    revision: str | None = Field(None, description="commit or tag of a hub id")


class Loras:
    """The adapters of one pipeline's weights. Callers name them; a path never comes from a caller.

    Raises:
        CheckpointError: the pipeline takes none, or a path leads nowhere.
    """

    def __init__(self, pipeline: Any, sources: Mapping[str, LoraSource], keep: int) -> None:
        if sources and not hasattr(pipeline, "load_lora_weights"):
            raise CheckpointError(f"options.loras: a {type(pipeline).__name__} takes no LoRAs")
        self._pipeline = pipeline
        self._sources = dict(sources)
        self._where = {name: _found(name, source.checkpoint) for name, source in sources.items()}
        self._keep = keep
        self._loaded: OrderedDict[str, str] = OrderedDict()
        self.acting: tuple[LoraUse, ...] = ()

    def use(self, wanted: Sequence[LoraUse]) -> None:
        """Let exactly these adapters act from now on.

        Raises:
            InvalidInput: `loras[i].name` is not configured, or named twice.
            InferenceFailed: the adapter does not load or does not fit. Not a CheckpointError: the model itself works.
        """
        for i, lora in enumerate(wanted):
            if lora.name not in self._sources:
                known = ", ".join(self._sources) or "none"
                raise InvalidInput(f"the LoRA {lora.name!r} is not configured; there are: {known}", f"loras[{i}].name")
            if lora.name in [other.name for other in wanted[:i]]:
                raise InvalidInput(f"the LoRA {lora.name!r} is named twice", f"loras[{i}].name")
        if not wanted:
            if self.acting:
                self._pipeline.disable_lora()
            self.acting = ()
            return
        for lora in wanted:
            self._load(lora.name)
        while len(self._loaded) > max(self._keep, len(wanted)):
            _, adapter = self._loaded.popitem(last=False)
            self._pipeline.delete_adapters(adapter)
        self._pipeline.enable_lora()
        self._pipeline.set_adapters([self._loaded[lora.name] for lora in wanted], [lora.weight for lora in wanted])
        self.acting = tuple(wanted)

    def _load(self, name: str) -> None:
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return
        source = self._sources[name]
        # torch's module names may hold no dots, configured names may
        adapter = f"lora_{list(self._sources).index(name)}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # peft asks whether a second adapter is meant
                self._pipeline.load_lora_weights(
                    self._where[name], weight_name=source.weight_name, revision=source.revision, adapter_name=adapter
                )
            fits = adapter in self._adapters()
            wrong = f"it is not for a {type(self._pipeline).__name__}"
        except Exception as error:  # a file may be broken in any way
            if is_out_of_memory(error):
                self._forget(adapter)
                raise
            fits, wrong = False, first_line(error)
        if not fits:
            self._forget(adapter)
            raise InferenceFailed(f"the LoRA {name!r} could not be loaded: {wrong}")
        self._loaded[name] = adapter

    def _forget(self, adapter: str) -> None:
        """Remove what a broken file left behind, and let act what acted before."""
        if adapter in self._adapters():
            self._pipeline.delete_adapters(adapter)
        if not self.acting and self._loaded:
            self._pipeline.disable_lora()

    def _adapters(self) -> set[str]:
        return {name for names in self._pipeline.get_list_adapters().values() for name in names}


def lora_sources(sources: Iterable[LoraSource]) -> list[HubSource]:
    """What the adapters take from the hub."""
    found = [(source, hub_id(source.checkpoint)) for source in sources if not _is_file(source.checkpoint)]
    return [HubSource(name, source.revision, file=source.weight_name) for source, name in found if name is not None]


def _is_file(checkpoint: str) -> bool:
    return Path(checkpoint).expanduser().is_file()


def _found(name: str, checkpoint: str) -> str:
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return str(path)
    try:
        return str(local_folder(checkpoint) or checkpoint)
    except CheckpointError:
        raise CheckpointError(f"options.loras.{name}: no file or folder at {checkpoint!r}") from None
