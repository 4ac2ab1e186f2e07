"""Engines whose every voice is a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from models.engine import Options
from models.errors import CheckpointError, InvalidInput
from models.speech.engine import S, SpeechEngine
from models.speech.stock_voices import stock_recording, stock_voices

if TYPE_CHECKING:
    from models.entry import ModelEntry


class VoiceSample(BaseModel):
    """A voice that a configuration names: a recording of the speaker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recording: Path = Field(description="file of 0.5 to 60 s: MP3, WAV, FLAC, Ogg, M4A or WebM")
    text: str | None = Field(None, min_length=1, max_length=2000, description="what is said in it")


class CloningOptions(Options):
    """Options of an engine whose every voice is a recording's."""

    voices: dict[str, VoiceSample] = Field(
        default_factory=dict, description="voices by name; the first one is the default"
    )


class CloningEngine(SpeechEngine[S]):
    """An engine whose every voice is a recording's.

    OpenAI's voice names work from the start: those that the configuration does not name are its first voice, and where
    it names none, recordings of the built-in synthesiser (`models.speech.stock_voices`), which sound like one.
    """

    Options: ClassVar[type[Options]] = CloningOptions

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The configured voices, then OpenAI's."""

        options: Any = cls.Options.model_validate(entry.options)
        return tuple(dict.fromkeys((*options.voices, *stock_voices())))

    def _named(self, name: str | None) -> S:

        names = self.names(self.entry)
        if name is None:
            name = names[0]
        if name not in names:
            raise InvalidInput(f"there is no voice {name!r}; there are {', '.join(names)}", "voice")
        voices: dict[str, VoiceSample] = self.options.voices
        if not voices:
            return self._heard_in(*stock_recording(name))
        sample = voices.get(name) or next(iter(voices.values()))
        try:
            recording = sample.recording.read_bytes()
        except OSError as error:
            raise CheckpointError(f"the recording of the voice {name!r} cannot be read: {error.strerror}") from error
        return self._heard_in(recording, sample.text)
