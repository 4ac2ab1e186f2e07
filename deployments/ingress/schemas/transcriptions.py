"""Fields of the transcription routes (docs/http-api.md, "Transcriptions")."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import from_json

from deployments.ingress.errors import invalid
from deployments.ingress.requests.body import Fields, Upload
from models.tasks import Detection

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
_STREAMED = ("json", "text")


class ServerVad(Fields):
    """How speech and silence are distinguished."""

    type: Literal["server_vad"]
    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which on a moment counts as speech")
    prefix_padding_ms: int = Field(130, ge=0, le=2000, description="kept before what is said")
    silence_duration_ms: int = Field(400, ge=100, le=5000, description="silence after which a passage has ended")

    @property
    def detection(self) -> Detection:
        """The same as engines take it."""
        return Detection(self.threshold, self.prefix_padding_ms / 1000, self.silence_duration_ms / 1000)


def _from_json(value: object) -> object:
    """The object that a form's text part holds; what is none stays what it is, and is refused as such."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return from_json(value)
    except ValueError:
        return value


class Translation(Fields):
    """`POST /v1/audio/translations`."""

    file: Upload = Field(description="MP3, WAV, FLAC, Ogg, M4A (or other MP4), AAC or WebM of up to 25 MiB")
    model: str | None = Field(None, min_length=1, max_length=200)
    prompt: str | None = Field(None, max_length=4000, description="what was said before, or how names are spelled")
    response_format: TranscriptFormat = "json"
    temperature: float = Field(0.0, ge=0, le=1)


class Transcription(Translation):
    """`POST /v1/audio/transcriptions`."""

    language: str | None = Field(None, max_length=40, description="name or BCP 47; found by the model where absent")
    languages: list[str] = Field([], max_length=20, description="those that may be spoken; one is `language`")
    keywords: list[str] = Field([], max_length=200, description="words that may be said; they go into the prompt")
    timestamp_granularities: list[Literal["segment", "word"]] = Field(
        [], description="with verbose_json; segments where absent"
    )
    include: list[Literal["logprobs"]] = Field([], description="refused: there are no log-probabilities")
    stream: bool = Field(False, description="events as the passages are heard; with json and text")
    chunking_strategy: Annotated[Literal["auto"] | ServerVad, BeforeValidator(_from_json)] = "auto"
    known_speaker_names: list[str] = Field([], description="refused: speakers are not told apart")
    known_speaker_references: list[str] = Field([], description="refused: speakers are not told apart")

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        for name in ("known_speaker_names", "known_speaker_references"):
            if getattr(self, name):
                raise invalid(name, f"{name}: speakers are not told apart here", "unsupported_parameter")
        if self.include:
            raise invalid("include", "include: transcripts have no logprobs here", "unsupported_parameter")
        if "word" in self.timestamp_granularities and self.response_format != "verbose_json":
            message = f"times of words go with response_format verbose_json, not with {self.response_format}"
            raise invalid("timestamp_granularities", message)
        if self.stream and self.response_format not in _STREAMED:
            message = f"stream goes with response_format json and text, not with {self.response_format}"
            raise invalid("stream", message)
        if self.language is not None and self.languages and self.language not in self.languages:
            raise invalid("languages", f"languages: {self.language!r}, which language names, is not among them")
        return self

    @property
    def spoken(self) -> str | None:
        """The one language that may be spoken, where that is known."""
        return self.languages[0] if self.language is None and len(self.languages) == 1 else self.language

    @property
    def detection(self) -> Detection:
        """How speech and silence are distinguished."""
        return Detection() if self.chunking_strategy == "auto" else self.chunking_strategy.detection
