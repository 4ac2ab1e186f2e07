"""What all recognisers of speech share: from a recording to its passages, each heard by itself.

An engine hears one window at a time (`_hear`). The base reads the file, finds where somebody speaks, and puts the
passages back where they were in the recording.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from models.devices import inference
from models.engine import Engine
from models.errors import Cancelled, InvalidInput
from models.tasks import TimedWord, TranscriptionJob, TranscriptPiece, TranscriptSegment
from models.transcription.languages import language_tag
from models.transcription.recording import RATE, read_blocks
from models.transcription.windows import Window, windows

if TYPE_CHECKING:
    from models.entry import ModelEntry

IsCancelled = Callable[[], bool]
CONTROL_TOKENS: Final = re.compile(r"<\|[^|<>]*\|>")
"""Whisper's, as text, which its tokenizers read as what they look like; no prompt may have them."""


@dataclass(frozen=True)
class Heard:
    """What was said in a window: passages with their times from its start on, and the language if the model tells."""

    segments: Sequence[TranscriptSegment]
    language: str | None = None


@dataclass(frozen=True)
class Abilities:
    """What a loaded model takes beside the recording, and what it gives beside the words.

    `languages` are primary BCP 47 subtags, empty where the model does not say which it knows.
    """

    languages: tuple[str, ...] = ()
    reads_prompts: bool = False
    has_temperature: bool = False
    times_words: bool = False
    translates: bool = False


class TranscriptionEngine(Engine):
    """Writes speech down."""

    joined_seconds: ClassVar[float] = 10.0
    """Passages are heard together up to this long: a model understands more with what was said before and after."""
    longest_seconds: ClassVar[float] = 16.0
    """What the model hears at once, at most."""

    @classmethod
    def understood(cls, entry: ModelEntry) -> tuple[str, ...]:  # noqa: ARG003 - for those that tell
        """The languages that a model of this entry knows, without loading it; empty where that is not known."""
        return ()

    @property
    @abstractmethod
    def abilities(self) -> Abilities:
        """What the loaded model can do."""

    @abstractmethod
    def _hear(self, samples: np.ndarray, job: TranscriptionJob, is_cancelled: IsCancelled) -> Heard:
        """What is said in `samples`, mono float32 [n] of 16 kHz, some 0.3 to `longest_seconds` long.

        `job.language` is a tag of `abilities`, or None. Passages may leave out their probability of speech.

        Raises:
            Cancelled: `is_cancelled()` was true, where the engine can stop within a window.
        """

    def stream(self, job: TranscriptionJob, is_cancelled: IsCancelled = lambda: False) -> Iterator[TranscriptPiece]:
        """The passages as they are heard, window by window. The first piece says that the job can be done.

        Raises:
            InvalidInput: `recording`, `language`, `times_words` or `translates`; the last two where the model cannot.
            Cancelled: (while iterating) soon after `is_cancelled()` is true.
        """
        job, ignored = self._checked(job)
        blocks = read_blocks(job.recording, "recording")
        first = next(blocks, np.empty(0, np.float32))
        yield TranscriptPiece((), job.language, ignored)
        samples = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal samples
            for block in chain([first], blocks):
                if is_cancelled():
                    raise Cancelled
                samples += len(block)
                yield block

        language = job.language
        for window in windows(counted(), self.joined_seconds, self.longest_seconds, job.detection):
            if is_cancelled():
                raise Cancelled
            if window is None:
                yield TranscriptPiece((), language, ignored)
                continue
            with inference():
                heard = self._hear(window.samples, job, is_cancelled)
            language = language or heard.language
            yield TranscriptPiece(tuple(_placed(heard.segments, window)), language, ignored)
        yield TranscriptPiece((), language, ignored, samples / RATE)

    def transcribe(self, job: TranscriptionJob, is_cancelled: IsCancelled = lambda: False) -> list[TranscriptPiece]:
        """All of the pieces. Raises as `stream` does."""
        return list(self.stream(job, is_cancelled))

    def _checked(self, job: TranscriptionJob) -> tuple[TranscriptionJob, tuple[str, ...]]:
        """The job with its language as a tag and without what the model cannot use, and the names of that."""
        able = self.abilities
        language = language_tag(job.language, able.languages)
        if job.translates and not able.translates:
            raise InvalidInput("this model writes down what is said and translates nothing", "translates")
        if job.times_words and not able.times_words:
            raise InvalidInput("this model tells no times of words; it tells those of segments", "times_words")
        ignored = []
        if job.prompt and not able.reads_prompts:
            ignored.append("prompt")
        if job.temperature and not able.has_temperature:
            ignored.append("temperature")
        usual = TranscriptionJob(b"")
        told = replace(job, language=language, **{name: getattr(usual, name) for name in ignored})
        return told, tuple(ignored)

    def _warm_up(self) -> None:
        from models.tasks import Detection

        self._hear(np.zeros(RATE, np.float32), TranscriptionJob(b"", detection=Detection()), lambda: False)


def _placed(segments: Sequence[TranscriptSegment], window: Window) -> Iterator[TranscriptSegment]:
    """Passages with words in them, by the recording's time."""

    def at(seconds: float) -> float:
        return round(min(max(window.start + seconds, window.start), window.end), 2)

    for each in segments:
        if text := " ".join(each.text.split()):
            words = tuple(TimedWord(word.text.strip(), at(word.start), at(word.end)) for word in each.words)
            start, end = at(each.start), at(each.end)
            if start >= end:  # a model's slip; subtitles cannot show it
                start, end = at(0), at(window.end - window.start)
            yield replace(each, text=text, start=start, end=end, words=words, no_speech=1 - window.speech)
