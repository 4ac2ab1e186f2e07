"""Speech: one voice model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from deployments.replica import IsCancelled, ModelReplica
from models.speech.audio_writing import AudioFormat, AudioStream, check_writable, write_audio
from models.speech.engine import SpeechEngine
from models.speech.text import is_one_sentence
from models.tasks import SpeechJob


@dataclass(frozen=True)
class SpeechChunk:
    """A part of an encoded file, and how many seconds are spoken in it."""

    data: bytes
    seconds: float


class Voice(ModelReplica[SpeechEngine[Any]]):
    """Speaks."""

    async def speak(self, job: SpeechJob, audio_format: AudioFormat = "mp3", comment: str | None = None) -> SpeechChunk:
        """The spoken text as an encoded file with a comment in its metadata; cancelled between two sentences."""

        def work(is_cancelled: IsCancelled) -> SpeechChunk:
            check_writable(audio_format)
            audio = self.engine.speak(job, is_cancelled)
            return SpeechChunk(write_audio(audio, audio_format, comment), audio.seconds)

        with self.presence.in_use():
            return await self.run(work)

    async def stream_speech(
        self, job: SpeechJob, audio_format: AudioFormat = "mp3", comment: str | None = None
    ) -> AsyncIterator[SpeechChunk]:
        """The same in parts, as the sentences are spoken.

        A text of one sentence is one whole file. So is FLAC always: common readers refuse one of unknown length.
        """

        def work(is_cancelled: IsCancelled) -> Iterator[SpeechChunk]:
            check_writable(audio_format)
            if audio_format == "flac" or is_one_sentence(job):
                audio = self.engine.speak(job, is_cancelled)
                yield SpeechChunk(write_audio(audio, audio_format, comment), audio.seconds)
                return
            file = AudioStream(audio_format, comment)
            for sentence in self.engine.stream(job, is_cancelled):
                yield SpeechChunk(file.add(sentence), sentence.seconds)
            yield SpeechChunk(file.end(), 0.0)

        with self.presence.in_use():
            async with aclosing(self.stream(work)) as parts:
                async for part in parts:
                    yield part
