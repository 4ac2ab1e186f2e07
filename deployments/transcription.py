"""Transcripts: one recogniser of speech."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from deployments.replica import ModelReplica
from models.tasks import TranscriptionJob, TranscriptPiece
from models.transcription.engine import TranscriptionEngine


class Transcription(ModelReplica[TranscriptionEngine]):
    """Writes speech down."""

    async def transcribe(self, job: TranscriptionJob) -> AsyncIterator[TranscriptPiece]:
        """The passages as they are heard.

        Each window is a turn at the engine by itself, so that a few words need not wait for the end of an hour's
        recording. Cancelled between windows, or within one where the engine can.
        """
        has_left = threading.Event()
        with self.presence.in_use():
            pieces = self.engine.stream(job, has_left.is_set)
            try:
                while (piece := await self.run(lambda _: next(pieces, None))) is not None:
                    yield piece
            finally:
                has_left.set()
