"""From a model's entry to its engine. An engine's module is imported when the first entry names it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from models.chat.engine import ChatEngine
from models.checkpoints import HubSource, fingerprint, local_folder
from models.embedding.engine import EmbeddingEngine
from models.engine import Engine
from models.entry import ModelEntry
from models.image.engine import ImageEngine
from models.kinds import FOLDERS, engines
from models.mistakes import BELOW, first_mistake
from models.tasks import ImageJob
from models.transcription.engine import TranscriptionEngine

_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")
_LIBRARIES_BYTES: Final = 700_000_000
"""What Python, torch and a model's libraries take by themselves."""


@cache
def engine_class(name: str) -> type[Engine]:
    """The class behind an engine's name: the one subclass of `Engine` that its file defines.

    Raises:
        TypeError: the file defines none, or several.
    """
    module = import_module(f"models.{FOLDERS[engines()[name]]}.engines.{name}")
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Engine) and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} defines {len(found)} classes of engines; one is needed")
    return found[0]


def create_engine(entry: ModelEntry) -> Engine:
    """The engine of an entry, not yet loaded."""
    return engine_class(entry.engine)(entry)


def check_options(entry: ModelEntry) -> ModelEntry:
    """The entry, whose options its engine knows; a validator for where settings are read.

    Raises:
        PydanticCustomError: of type `BELOW`; it names the option.
    """
    known = engine_class(entry.engine).Options
    try:
        known.model_validate(entry.options)
    except ValidationError as error:
        mistake = first_mistake(error, known, within="options")
        raise PydanticCustomError(BELOW, "{mistake}", {"mistake": mistake}) from error
    return entry


def check_checkpoint(entry: ModelEntry) -> None:
    """Refuse at once what could only fail later: a checkpoint on disk that is missing or of another kind.

    Raises:
        CheckpointError: in one line.
    """
    engine_class(entry.engine).check(entry)


def refuse_impossible(entry: ModelEntry, job: ImageJob) -> None:
    """Refuse a job for an image model that could only fail later, in a queue or after a long load.

    Raises:
        InvalidInput: it names the field.
    """
    found = engine_class(entry.engine)
    assert issubclass(found, ImageEngine)
    found.refuse(entry, job)


def embeds_pictures(entry: ModelEntry) -> bool:
    """Whether a model embeds pictures too, not texts alone."""
    found = engine_class(entry.engine)
    return issubclass(found, EmbeddingEngine) and found.takes_pictures


def takes_tools(entry: ModelEntry) -> bool:
    """Whether a chat model's template takes tools, and it calls them by itself. Reads files, loads nothing."""
    found = engine_class(entry.engine)
    return issubclass(found, ChatEngine) and found.takes_tools(entry)


def languages(entry: ModelEntry) -> list[str]:
    """The tags of the languages that a recogniser of speech knows; empty where its checkpoint does not tell."""
    found = engine_class(entry.engine)
    assert issubclass(found, TranscriptionEngine)
    return list(found.understood(entry))


def fingerprints(entry: ModelEntry) -> str:
    """A name that changes with the weights of any of a model's checkpoints."""
    return "+".join(fingerprint(each) for each in engine_class(entry.engine).weights(entry))


def hub_sources(entry: ModelEntry) -> list[HubSource]:
    """What a model takes from the hub, its checkpoint first; nothing where that is on disk or the model elsewhere."""
    return engine_class(entry.engine).hub_sources(entry)


def estimated_bytes(entry: ModelEntry) -> int:
    """What a model on disk will take in main memory, estimated by the size of its weights; 0 where there are none.

    A model on a GPU has its weights there, and one that is yet to be downloaded has none to look at.
    """
    folder = None if entry.gpus or engine_class(entry.engine).is_remote else local_folder(entry.checkpoint)
    if folder is None:
        return 0
    weights = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in _WEIGHTS)
    return int(weights * 1.15) + _LIBRARIES_BYTES
