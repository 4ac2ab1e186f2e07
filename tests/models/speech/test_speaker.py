"""Other speech in a speaker's pitch and build."""

from __future__ import annotations

import numpy as np
import pytest

from models.speech.speaker import change_voice, median_pitch
from models.tasks import Audio


@pytest.mark.parametrize("slower", [0.5, 2.0])
def test_a_whisper_changes_its_speed_without_a_warning(slower: float) -> None:
    noise = np.random.default_rng(1).standard_normal(48_000) * np.hanning(48_000)
    whisper = Audio((0.1 * noise).astype(np.float32), 24_000)
    assert median_pitch(whisper) is None
    changed = change_voice(whisper, slower=slower)
    assert changed.seconds == pytest.approx(2 * slower)
    assert np.square(changed.samples).mean() == pytest.approx(np.square(whisper.samples).mean(), rel=0.3)
