"""Where somebody speaks: windows of a recording, found by the voice detector itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from models.audio import join
from models.tasks import Audio, Detection
from models.transcription.recording import RATE
from models.transcription.windows import CHUNK, Window, windows
from tests.models.sounds import sine
from tests.models.transcription.said import noise, said, silence

HELLO = "Good morning to all of you."


def cut(*parts: Audio, joined: float = 10, longest: float = 16, **told: float) -> list[Window]:
    samples = join(list(parts)).samples

    def blocks() -> Iterator[np.ndarray]:
        yield from np.array_split(samples, max(1, len(samples) // 1000))  # of other sizes than the detector's

    return [window for window in windows(blocks(), joined, longest, Detection(**told)) if window is not None]


def test_speech_is_found_where_it_is_and_keeps_its_samples() -> None:
    (window,) = cut(silence(3), said(HELLO), silence(2))
    assert 2.7 < window.start < 3.1
    assert window.end == pytest.approx(3 + said(HELLO).seconds, abs=0.3)
    whole = join([silence(3), said(HELLO), silence(2)]).samples
    begin = round(window.start * RATE)
    assert np.array_equal(window.samples, whole[begin : begin + len(window.samples)])
    assert window.speech > 0.7


@pytest.mark.parametrize(
    "sound",
    [silence(4), noise(4), noise(4, 0.3), Audio(sine(440, 4, rate=RATE).samples, RATE), silence(0), silence(0.001)],
    ids=["silence", "noise", "loud noise", "a tone", "nothing", "one moment"],
)
def test_what_is_no_voice_is_in_no_window(sound: Audio) -> None:
    assert cut(sound) == []


def test_passages_are_joined_until_a_window_is_full() -> None:
    passage = [said(HELLO), silence(0.8)]
    each = said(HELLO).seconds + 0.8
    assert len(cut(*passage * 4, joined=0)) == 4
    assert len(cut(*passage * 4, joined=2 * each)) == 2
    assert len(cut(*passage * 4, joined=5 * each)) == 1
    assert len(cut(said(HELLO), silence(3), said(HELLO), joined=60)) == 2  # too long a silence to go on after


def test_one_who_never_pauses_is_cut_where_the_least_is_said() -> None:
    parts = [said("The old man walked slowly down to the river and the weather was very nice all day")] * 6
    found = cut(*parts, joined=4, longest=5, pause=5)
    assert len(found) > 2
    assert all(len(each.samples) <= 5 * RATE + 8 * CHUNK for each in found)
    for one, other in pairwise(found):
        assert other.start == pytest.approx(one.end, abs=1e-6)  # nothing lost, nothing twice


def test_nothing_is_lost_where_a_cut_falls_just_before_the_end() -> None:
    spoken = said("The old man walked slowly down to the river")
    word = Audio(spoken.samples[len(spoken.samples) // 2 :][: round(0.06 * spoken.rate)], spoken.rate)
    (whole,) = cut(spoken, silence(0.1), word, longest=20, pause=5)
    for chunks in range(1, 12):
        longest = whole.end - whole.start - chunks * CHUNK / RATE
        found = cut(spoken, silence(0.1), word, joined=1, longest=longest, pause=5)
        assert found[-1].end == pytest.approx(whole.end), chunks


def test_windows_come_in_order_and_never_overlap() -> None:
    parts = [part for number in range(8) for part in (said(HELLO), silence(0.1 * number), noise(0.2))]
    for joined in (0, 3, 9):
        found = cut(*parts, joined=joined, longest=9)
        assert found
        for one, other in pairwise(found):
            assert one.end <= other.start + 1e-9


def test_a_shorter_pause_and_less_padding_make_other_passages() -> None:
    parts = [said(HELLO), silence(0.35), said(HELLO)]
    assert len(cut(*parts, joined=0, pause=0.8)) == 1
    assert len(cut(*parts, joined=0, pause=0.2)) == 2
    padded, bare = (cut(silence(1), said(HELLO), padding=seconds)[0].start for seconds in (0.5, 0.0))
    assert bare - padded == pytest.approx(0.5, abs=0.04)


def test_a_long_silence_is_looked_through_in_turns() -> None:
    blocks = (np.zeros(RATE, np.float32) for _ in range(65))
    assert list(windows(blocks, 10, 16, Detection())) == [None, None]


def test_the_detector_computes_in_the_thread_that_asks() -> None:
    count = """
import numpy as np, psutil
from models.tasks import Detection
from models.transcription.windows import windows
before = psutil.Process().num_threads()
list(windows([np.zeros(16_000, np.float32)], 10, 16, Detection()))
print(psutil.Process().num_threads() - before)
"""
    counted = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert counted.stdout == "0\n"
