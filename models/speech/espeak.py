"""The voice that needs no GPU and no download: espeak-ng speaks the words, Praat makes them sound like the reference.

It is a formant synthesiser and sounds like one. A reference gives it pitch and build (`models.speech.speaker`), not a
timbre, an accent or a manner. Japanese is read through SudachiPy, since espeak-ng knows no kanji; Latin words that it
does not know are spelled out, and Hanja inside Korean is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import TypeAdapter

from models.checkpoints import local_folder
from models.errors import CheckpointError, InvalidInput
from models.speech import espeak_ng
from models.speech.audio import join
from models.speech.audio_writing import write_audio
from models.speech.engine import SpeechEngine
from models.speech.japanese import kana
from models.speech.speaker import Envelope, Speaker, change_voice, hear_speaker, imitate, measure_envelope
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.catalog import ModelEntry

_VOICES = {
    "en": "en-us",
    "en-GB": "en-gb-x-rp",
    "ko": "ko",
    "ja": "ja",
    "zh": "cmn",
    "de": "de",
    "fr": "fr",
    "ru": "ru",
    "pt": "pt-br",
    "pt-PT": "pt",
    "es": "es",
    "es-MX": "es-419",
    "it": "it",
}
"""BCP 47 → espeak-ng's voice; a tag with another region is spoken like its language."""

_KNOWN_SPEAKER = {
    "en": "The old man walked slowly down to the river with a small red bag.",
    "ko": "오늘은 날씨가 아주 좋아서 친구들과 공원에 갔습니다.",
    "ja": "きょうは てんきが いいので ともだちと こうえんに いきました。",
    "zh": "今天天气很好，我和朋友们一起去公园玩。",
}
"""What espeak-ng says to be measured as the speaker of build 1."""

_SLOWEST_NATIVE = 0.5
_STOCK = "builtin:voice"


class EspeakEngine(SpeechEngine[Speaker]):
    """espeak-ng in the pitch and build of a reference speaker."""

    marker: ClassVar[str] = "voices.json"
    is_on_hub: ClassVar[bool] = False
    languages: ClassVar[tuple[str, ...]] = tuple(tag for tag in _VOICES if "-" not in tag)

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The speakers of the checkpoint's voices.json."""
        return tuple(_speakers(_folder(entry.checkpoint)))

    def _load(self) -> None:
        self._voices = _speakers(_folder(self.entry.checkpoint))
        spoken = [espeak_ng.speak(text, _VOICES[tag]) for tag, text in _KNOWN_SPEAKER.items()]
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
        voice = _VOICES.get(language) or _VOICES[language.split("-")[0]]
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


def stock_voices() -> tuple[str, ...]:
    """OpenAI's voice names, all of which the built-in synthesiser speaks in."""
    return tuple(_speakers(_folder(_STOCK)))


@cache
def stock_recording(name: str) -> tuple[bytes, str]:
    """A recording of one of the `stock_voices`, for engines that need one, and what is said in it."""
    text = _KNOWN_SPEAKER["en"]
    spoken = imitate(espeak_ng.speak(text, _VOICES["en"]), _speakers(_folder(_STOCK))[name])
    return write_audio(spoken, "wav"), text


def _folder(checkpoint: str) -> Path:
    folder = local_folder(checkpoint)
    if folder is None:
        raise CheckpointError(f"espeak's checkpoint is a folder with voices.json, not {checkpoint!r}")
    return folder


@cache  # asked for in each request, by who must not wait for a disk
def _speakers(folder: Path) -> dict[str, Speaker]:
    return TypeAdapter(dict[str, Speaker]).validate_json((folder / "voices.json").read_bytes())
