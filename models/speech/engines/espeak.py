"""The voice that needs no GPU and no download: espeak-ng speaks the words, Praat makes them sound like the reference.

It is a formant synthesiser and sounds like one. A reference gives it pitch and build (`models.speech.speaker`), not a
timbre, an accent or a manner. Japanese is read through SudachiPy, since espeak-ng knows no kanji; Latin words that it
does not know are spelled out, and Hanja inside Korean is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from models.audio import join
from models.errors import InvalidInput
from models.speech import espeak_ng
from models.speech.engine import SpeechEngine
from models.speech.japanese import kana
from models.speech.speaker import Envelope, Speaker, change_voice, hear_speaker, imitate, measure_envelope
from models.speech.stock_voices import ESPEAK_VOICES, KNOWN_SPEAKER, speakers_of, voices_folder
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.entry import ModelEntry

_SLOWEST_NATIVE = 0.5


class EspeakEngine(SpeechEngine[Speaker]):
    """espeak-ng in the pitch and build of a reference speaker."""

    marker: ClassVar[str] = "voices.json"
    is_on_hub: ClassVar[bool] = False
    languages: ClassVar[tuple[str, ...]] = tuple(tag for tag in ESPEAK_VOICES if "-" not in tag)

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The speakers of the checkpoint's voices.json."""
        return tuple(speakers_of(voices_folder(entry.checkpoint)))

    def _load(self) -> None:
        self._voices = speakers_of(voices_folder(self.entry.checkpoint))
        spoken = [espeak_ng.speak(text, ESPEAK_VOICES[tag]) for tag, text in KNOWN_SPEAKER.items()]
        self._known: Envelope = measure_envelope(join(spoken))

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
        voice = ESPEAK_VOICES.get(language) or ESPEAK_VOICES[language.split("-")[0]]
        native = max(speed, _SLOWEST_NATIVE)
        spoken = espeak_ng.speak(kana(sentence) if voice == "ja" else sentence, voice, native)
        slower = native / speed
        return imitate(spoken, speaker, slower) if speaker else change_voice(spoken, slower=slower)

    def _encode_speaker(self, recording: Audio, text: str | None) -> Speaker:  # noqa: ARG002 - words tell it nothing
        return hear_speaker(recording, self._known, "reference")

    def _named(self, name: str | None) -> Speaker | None:
        if name is None:
            return None
        if name not in self._voices:
            raise InvalidInput(f"there is no voice {name!r}; there are {', '.join(self._voices)}", "voice")
        return self._voices[name]
