"""What the base of all voices does for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.entry import ModelEntry
from models.errors import InferenceFailed
from models.speech.engine import SpeechEngine
from models.tasks import Audio, SpeechJob
from tests.models.sounds import encoded, sine, vowels


class Deaf(SpeechEngine[None]):
    """A voice whose library breaks on every recording."""

    languages = ("en",)

    def _load(self) -> None:
        return

    def _encode_speaker(self, recording: Audio, text: str | None) -> None:
        raise RuntimeError(f"no rule for {recording.rate} Hz")

    def _named(self, name: str | None) -> None:
        return

    def _synthesize(
        self, sentence: str, language: str, speaker: None, speed: float, is_cancelled: Callable[[], bool]
    ) -> Audio:
        return sine()


def test_a_library_that_breaks_on_a_recording_is_reported_as_what_it_is() -> None:
    engine = Deaf(ModelEntry(engine="espeak", checkpoint="builtin:voice"))
    engine.load()
    with pytest.raises(InferenceFailed, match="no rule for 16000 Hz"):
        engine.speak(SpeechJob("Hello.", reference=encoded(vowels(120))))
    assert engine.speak(SpeechJob("Hello.")).seconds > 1
