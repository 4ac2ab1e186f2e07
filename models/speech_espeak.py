"""The voice that needs no GPU and no download: espeak-ng speaks the words, Praat makes them sound like the reference.

It is a formant synthesiser and sounds like one. A reference gives it pitch and build (`models.speech_speaker`), not a
timbre, an accent or a manner. Japanese is read through SudachiPy, since espeak-ng knows no kanji; Latin words that it
does not know are spelled out, and Hanja inside Korean is not read.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar

from pydantic import TypeAdapter

from models import espeak_ng
from models.audio import join, read_voice
from models.engine import SpeechEngine, inference, local_folder
from models.errors import CheckpointError, InvalidInput
from models.speech_japanese import kana
from models.speech_speaker import Envelope, Speaker, change_voice, hear_speaker, imitate, measure_envelope
from models.speech_text import detect_language, normalise_language, sentences, spoken_text
from models.tasks import Audio, SpeechJob

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

_SLOWEST, _FASTEST = 0.25, 4.0
_SLOWEST_NATIVE = 0.5
_KEPT_SPEAKERS = 64


class EspeakEngine(SpeechEngine):
    """espeak-ng in the pitch and build of a reference speaker."""

    marker: ClassVar[str] = "voices.json"
    languages: ClassVar[tuple[str, ...]] = tuple(tag for tag in _VOICES if "-" not in tag)

    def stream(self, job: SpeechJob) -> Iterator[Audio]:
        """The spoken text, sentence by sentence; everything is checked before the first one."""
        language = normalise_language(job.language, self.languages)
        if not _SLOWEST <= job.speed <= _FASTEST:
            raise InvalidInput(f"speed is {job.speed:g}; {_SLOWEST:g} to {_FASTEST:g} are allowed", "speed")
        text = spoken_text(job.text)
        if language == "auto":
            language = detect_language(text)
        return self._pieces(sentences(text), language, self._speaker(job), job.speed)

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of the checkpoint's own speakers."""
        return tuple(self._voices)

    def _load(self) -> None:
        folder = local_folder(self.entry.checkpoint)
        if folder is None:
            raise CheckpointError(f"espeak's checkpoint is a folder with voices.json, not {self.entry.checkpoint!r}")
        self._voices = TypeAdapter(dict[str, Speaker]).validate_json((folder / "voices.json").read_bytes())
        spoken = [espeak_ng.speak(text, _VOICES[tag]) for tag, text in _KNOWN_SPEAKER.items()]
        self._known: Envelope = measure_envelope(join(spoken))
        self._heard: OrderedDict[str, Speaker] = OrderedDict()

    def _warm_up(self) -> None:
        for text in ("Ready.", "準備完了です。"):
            self.speak(SpeechJob(text))

    def _pieces(self, pieces: list[str], language: str, speaker: Speaker | None, speed: float) -> Iterator[Audio]:
        voice = _VOICES.get(language) or _VOICES[language.split("-")[0]]
        native = max(speed, _SLOWEST_NATIVE)
        for number, piece in enumerate(pieces, 1):
            with inference():
                words = kana(piece) if voice == "ja" else piece
                spoken = espeak_ng.speak(words, voice, native, pause=number < len(pieces))
                slower = native / speed
                spoken = imitate(spoken, speaker, slower) if speaker else change_voice(spoken, slower=slower)
            yield spoken

    def _speaker(self, job: SpeechJob) -> Speaker | None:
        if job.reference is not None:
            return self._heard_in(job.reference)
        if job.voice is None:
            return None
        if job.voice not in self._voices:
            raise InvalidInput(f"there is no voice {job.voice!r}; there are {', '.join(self._voices)}", "voice")
        return self._voices[job.voice]

    def _heard_in(self, recording: bytes) -> Speaker:
        key = hashlib.sha256(recording).hexdigest()
        if key not in self._heard:
            self._heard[key] = hear_speaker(read_voice(recording, "reference"), self._known, "reference")
            if len(self._heard) > _KEPT_SPEAKERS:
                self._heard.popitem(last=False)
        self._heard.move_to_end(key)
        return self._heard[key]
