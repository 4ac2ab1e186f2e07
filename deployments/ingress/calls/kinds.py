"""Calls of a model by its kind. What a method takes and gives is what the model's deployment says of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from deployments.captioning import Captioning
from deployments.embedding import Embedding, EmbeddingResult
from deployments.imaging import ImageEvent, Imaging, Output
from deployments.transcription import Transcription
from deployments.vision import Answer, Vision
from deployments.voice import SpeechChunk, Voice
from models.speech.audio_writing import AudioFormat
from models.tasks import ChatDelta, ChatJob, ImageJob, SpeechJob, TranscriptionJob, TranscriptPiece

P = ParamSpec("P")
J = TypeVar("J")
T = TypeVar("T")


class Calls(Protocol):
    """Calls of any model, by a method of its deployment. All raise as `ModelCalls.call`."""

    async def call(
        self, alias: str, method: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the method gives."""

    def stream(
        self, alias: str, method: Callable[Concatenate[Any, P], AsyncIterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """What the method yields, as it comes."""

    async def call_each(self, alias: str, method: Callable[[Any, J], Awaitable[T]], jobs: Sequence[J]) -> list[T]:
        """What it gives for each job, in order; the first failure ends the others."""

    def stream_each(
        self, alias: str, method: Callable[[Any, J], AsyncIterator[T]], jobs: Sequence[J]
    ) -> AsyncGenerator[tuple[int, T], None]:
        """What it yields for several jobs, as it comes, with the number of the job."""


@dataclass(frozen=True)
class ImageCalls:
    """Calls of an image model."""

    calls: Calls
    alias: str

    def generate(self, job: ImageJob, output: Output) -> AsyncGenerator[ImageEvent, None]:
        """Progress and partial pictures as they come, then the job's pictures in order."""
        return self.calls.stream(self.alias, Imaging.generate, job, output)


@dataclass(frozen=True)
class ChatCalls:
    """Calls of a chat model."""

    calls: Calls
    alias: str

    async def answer(self, job: ChatJob) -> Answer:
        """The whole answer."""
        return await self.calls.call(self.alias, Vision.chat, job)

    async def answer_each(self, jobs: Sequence[ChatJob]) -> list[Answer]:
        """The whole answers, in order; a request alone never overflows the model's queue."""
        return await self.calls.call_each(self.alias, Vision.chat, jobs)

    def stream(self, job: ChatJob) -> AsyncGenerator[ChatDelta, None]:
        """The answer as it is written."""
        return self.calls.stream(self.alias, Vision.chat_stream, job)

    def stream_each(self, jobs: Sequence[ChatJob]) -> AsyncGenerator[tuple[int, ChatDelta], None]:
        """The answers as they are written, with the number of the job."""
        return self.calls.stream_each(self.alias, Vision.chat_stream, jobs)


@dataclass(frozen=True)
class CaptionCalls:
    """Calls of a captioner."""

    calls: Calls
    alias: str

    async def caption(self, images: Mapping[str, bytes], prefix: str | None = None) -> list[str]:
        """One caption per encoded picture, in order; `images` by the names that errors call them."""
        return await self.calls.call(self.alias, Captioning.caption, images, prefix)


@dataclass(frozen=True)
class EmbeddingCalls:
    """Calls of an embedding model."""

    calls: Calls
    alias: str

    async def embed(self, inputs: Mapping[str, str | bytes], dimension: int | None = None) -> EmbeddingResult:
        """The vectors of texts and encoded pictures, in order; `inputs` by the names that errors call them."""
        return await self.calls.call(self.alias, Embedding.embed, inputs, dimension)


@dataclass(frozen=True)
class VoiceCalls:
    """Calls of a voice model."""

    calls: Calls
    alias: str

    async def speak(self, job: SpeechJob, audio_format: AudioFormat, comment: str | None) -> SpeechChunk:
        """The spoken text as one encoded file, with a comment in its metadata."""
        return await self.calls.call(self.alias, Voice.speak, job, audio_format, comment)

    def stream(
        self, job: SpeechJob, audio_format: AudioFormat, comment: str | None
    ) -> AsyncGenerator[SpeechChunk, None]:
        """The same file in parts, as the sentences are spoken."""
        return self.calls.stream(self.alias, Voice.stream_speech, job, audio_format, comment)


@dataclass(frozen=True)
class TranscriptCalls:
    """Calls of a recogniser of speech."""

    calls: Calls
    alias: str

    def stream(self, job: TranscriptionJob) -> AsyncGenerator[TranscriptPiece, None]:
        """The passages of a recording, as they are heard."""
        return self.calls.stream(self.alias, Transcription.transcribe, job)
