"""The voices under OpenAI's names, as pitch and build, and recordings of them for engines that only clone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter

from models.checkpoints import local_folder
from models.errors import CheckpointError, InvalidInput
from models.speech.audio_writing import write_audio
from models.speech.rules import KNOWN_SPEAKER, say
from models.speech.speaker import Speaker

STOCK: Final = "builtin:voice"

V = TypeVar("V")


def stock_voices() -> tuple[str, ...]:
    """OpenAI's voice names, all of which the built-in synthesiser speaks in."""
    return tuple(speakers_of(voices_folder(STOCK)))


@cache
def stock_recording(name: str) -> tuple[bytes, str]:
    """A recording of one of the `stock_voices`, for engines that need one, and what is said in it."""
    text = KNOWN_SPEAKER["en"]
    spoken = say(text, "en", speakers_of(voices_folder(STOCK))[name])
    return write_audio(spoken, "wav"), text


def voices_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint that is a table of voices, voices.json.

    Raises:
        CheckpointError: it is not on disk.
    """
    folder = local_folder(checkpoint)
    if folder is None:
        raise CheckpointError(f"the checkpoint is a folder with voices.json, not {checkpoint!r}")
    return folder


def voice_of(name: str | None, voices: Mapping[str, V]) -> V | None:
    """The voice of a name, None for no name.

    Raises:
        InvalidInput: naming `voice`; there is none of that name.
    """
    if name is not None and name not in voices:
        raise InvalidInput(f"there is no voice {name!r}; there are {', '.join(voices)}", "voice")
    return None if name is None else voices[name]


@cache  # every request needs them, and must not wait for a disk
def speakers_of(folder: Path) -> dict[str, Speaker]:
    """The speakers in a folder's voices.json, by name."""
    return TypeAdapter(dict[str, Speaker]).validate_json((folder / "voices.json").read_bytes())
