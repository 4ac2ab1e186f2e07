"""Speech: one voice model."""

from __future__ import annotations

from deployments.replica import IsCancelled, ModelReplica
from models.audio import AudioFormat, check_writable, write_audio
from models.engine import SpeechEngine
from models.tasks import SpeechJob


class Voice(ModelReplica[SpeechEngine]):
    """Speaks."""

    async def speak(self, job: SpeechJob, audio_format: AudioFormat = "mp3") -> bytes:
        """The spoken text as an encoded file; cancelled between two sentences."""

        def work(is_cancelled: IsCancelled) -> bytes:
            check_writable(audio_format)
            return write_audio(self.engine.speak(job, is_cancelled), audio_format)

        return await self.run(work)
