"""Fields of the speech routes (docs/http-api.md, "Speech")."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from deployments.ingress.errors import invalid
from deployments.ingress.requests.body import Fields, Upload
from models.speech.audio_writing import AudioFormat

MAX_CHARACTERS = 4096
STOCK_VOICES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
"""OpenAI's own."""


class VoiceId(Fields):
    """A stored voice as the newer SDKs name it."""

    id: str = Field(min_length=1, max_length=100)


class Speech(Fields):
    """`POST /v1/audio/speech`."""

    model: str
    input: str = Field(
        min_length=1,
        max_length=MAX_CHARACTERS,
        description="spoken as it stands; without a word it is 0.2 s of silence",
    )
    voice: Annotated[str, Field(min_length=1, max_length=100)] | VoiceId
    response_format: AudioFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str | None = Field(None, max_length=4096, description="left out: no voice here follows any")
    language: str = Field("auto", max_length=40, description="name or BCP 47")

    @property
    def voice_name(self) -> str:
        """The voice, however it was named."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class _SpeechText(Fields):
    text: str = Field(min_length=1, max_length=2000, description="text in brackets is not spoken")
    language: str = Field("auto", max_length=40, description="name or BCP 47")
    ref_text: str | None = Field(None, max_length=2000, description="what is said in the recording")
    voice: str | None = Field(
        None, min_length=1, max_length=100, description="a stored or configured voice, in place of a recording"
    )


class GeneratedVoice(_SpeechText):
    """`POST /v1/voice/generate`."""

    ref_audio: Upload | None = Field(None, description="a recording of the voice, 0.5 to 60 s")
    response_format: AudioFormat = "mp3"


class StoredVoiceLine(_SpeechText):
    """`POST /v1/r2/voice/generate`: the speaker is that of exactly one of `ref_audio_key`, `user_id` and `voice`."""

    key: str | None = Field(None, min_length=1, description="where it is kept; chosen when absent")
    ref_audio_key: str | None = Field(None, min_length=1, description="a recording in the store; goes with ref_text")
    user_id: str | None = Field(
        None, min_length=1, max_length=200, description="whose recording and text (USER.mp3, USER.txt) are in the store"
    )

    @model_validator(mode="after")
    def _one_speaker(self) -> Self:
        given = [name for name in ("ref_audio_key", "user_id", "voice") if getattr(self, name) is not None]
        if not given:
            message = "one of ref_audio_key (with ref_text), user_id and voice is needed"
            raise invalid("ref_audio_key", message, "missing_required_parameter")
        if len(given) > 1:
            raise invalid(given[1], f"{' and '.join(given)} are given; give one of them")
        if self.ref_audio_key is not None and not (self.ref_text or "").strip():
            message = "ref_text, what is said in the recording, goes with ref_audio_key and is missing or blank"
            raise invalid("ref_text", message, "missing_required_parameter")
        if self.ref_audio_key is None and self.ref_text is not None:
            raise invalid("ref_text", f"ref_text goes with ref_audio_key only, not with {given[0]}")
        return self


def _printable(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("letters that can be seen are needed")
    return name.strip()


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("words are needed, and this is blank; leave it out where they are not known")
    return text.strip()


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]


class ConsentRecording(Fields):
    """`POST /v1/audio/voice_consents`."""

    name: Name
    language: str = Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$", max_length=40, description="BCP 47")
    recording: Upload


class ConsentName(Fields):
    """`POST /v1/audio/voice_consents/{id}`."""

    name: Name


class NewVoice(Fields):
    """`POST /v1/audio/voices`."""

    name: Name
    consent: str | None = Field(None, max_length=100, description="id of a voice consent")
    audio_sample: Upload | None = Field(None, description="a recording of the voice, 0.5 to 60 s")
    text: Annotated[str, AfterValidator(_not_blank)] | None = Field(
        None, min_length=1, max_length=2000, description="what is said in the sample; where absent, a model listens"
    )
    type: Literal["audio_sample", "prompt"] | None = None
    prompt: str | None = None
    model: str | None = None
    script_hint: str | None = None


class Page(Fields):
    """Query of a list."""

    after: str | None = Field(None, max_length=100, description="the last id of the page before")
    limit: int = Field(20, ge=1, le=100)
