"""The voice that needs no GPU and no download: espeak-ng speaks the words, Praat makes them sound like the reference.

How it speaks is in `models.speech.rules`. A reference gives it pitch and build (`models.speech.speaker`), not a timbre,
an accent or a manner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from models.speech.engine import SpeechEngine
from models.speech.rules import LANGUAGES, known_envelope, say
from models.speech.speaker import Speaker, hear_speaker
from models.speech.stock_voices import speakers_of, voice_of, voices_folder
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.entry import ModelEntry


class EspeakEngine(SpeechEngine[Speaker]):
    """espeak-ng in the pitch and build of a reference speaker."""

    marker: ClassVar[str] = "voices.json"
    is_on_hub: ClassVar[bool] = False
    languages: ClassVar[tuple[str, ...]] = LANGUAGES

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The speakers of the checkpoint's voices.json."""
        return tuple(speakers_of(voices_folder(entry.checkpoint)))

    def _load(self) -> None:
        self._voices = speakers_of(voices_folder(self.entry.checkpoint))
        self._known = known_envelope()

    def _warm_up(self) -> None:
        for text in ("Ready.", "準備完了です。"):
            self.speak(SpeechJob(text))

    def _synthesize(
        self,
        sentence: str,
        language: str,
        speaker: Speaker | None,
        speed: float,
        is_cancelled: Callable[[], bool],  # noqa: ARG002 - a sentence takes some milliseconds
    ) -> Audio:
        return say(sentence, language, speaker, speed)

    def _encode_speaker(self, recording: Audio, text: str | None) -> Speaker:  # noqa: ARG002 - words tell it nothing
        return hear_speaker(recording, self._known, "reference")

    def _named(self, name: str | None) -> Speaker | None:
        return voice_of(name, self._voices)
