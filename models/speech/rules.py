"""Every language by rules: espeak-ng says a sentence, and Praat makes it a speaker's.

It is a formant synthesiser and sounds like one. Japanese is read through SudachiPy, since espeak-ng knows no kanji;
Latin words that it does not know are spelled out, and Hanja inside Korean is not read.
"""

from __future__ import annotations

from models.audio import join
from models.speech import espeak_ng
from models.speech.japanese import kana
from models.speech.speaker import Envelope, Speaker, change_voice, imitate, measure_envelope
from models.tasks import Audio

ESPEAK_VOICES = {
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

KNOWN_SPEAKER = {
    "en": "The old man walked slowly down to the river with a small red bag.",
    "ko": "오늘은 날씨가 아주 좋아서 친구들과 공원에 갔습니다.",
    "ja": "きょうは てんきが いいので ともだちと こうえんに いきました。",
    "zh": "今天天气很好，我和朋友们一起去公园玩。",
}
"""What espeak-ng says to be measured as the speaker of build 1."""

LANGUAGES = tuple(tag for tag in ESPEAK_VOICES if "-" not in tag)

_SLOWEST_NATIVE = 0.5


def say(sentence: str, language: str, speaker: Speaker | None = None, speed: float = 1.0) -> Audio:
    """A sentence in a language (a BCP 47 tag), in a speaker's pitch and build or as espeak-ng says it.

    Raises:
        CheckpointError: espeak-ng is not whole.
        InferenceFailed: it refused the text.
    """
    voice = ESPEAK_VOICES.get(language) or ESPEAK_VOICES[language.split("-")[0]]
    native = max(speed, _SLOWEST_NATIVE)
    spoken = espeak_ng.speak(kana(sentence) if voice == "ja" else sentence, voice, native)
    slower = native / speed
    return imitate(spoken, speaker, slower) if speaker else change_voice(spoken, slower=slower)


def known_envelope() -> Envelope:
    """The envelope of the speaker of build 1, espeak-ng's."""
    return measure_envelope(join([espeak_ng.speak(text, ESPEAK_VOICES[tag]) for tag, text in KNOWN_SPEAKER.items()]))
