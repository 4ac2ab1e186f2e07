"""What all voices share: from a text to its sentences, from a recording to a speaker, and from sentences to even sound.

An engine says one sentence at a time (`_synthesize`). What it needs of a recording's speaker it makes once
(`_encode_speaker`).
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from cachetools import LRUCache

from models.devices import inference
from models.engine import Engine
from models.errors import Cancelled, InvalidInput
from models.speech.text import (
    LATIN,
    WRITTEN_IN_LATIN,
    detect_language,
    language_name,
    normalise_language,
    sentences,
    text_of,
)
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.entry import ModelEntry

_SILENCE_SECONDS: Final = 0.2
_SILENCE_RATE: Final = 24_000
SLOWEST: Final = 0.25
FASTEST: Final = 4.0

S = TypeVar("S")
"""What an engine makes of a recording once: a clone prompt, a speaker's features."""


class SpeechEngine(Engine, Generic[S]):
    """Speaks, in the voice of a recording or in one that it knows by name."""

    languages: ClassVar[tuple[str, ...]] = ()
    """What the engine can speak, as primary BCP 47 subtags."""
    uses_words: ClassVar[bool] = False
    """Whether a voice gets better where it is known what is said in its recording."""
    kept_speakers: ClassVar[int] = 64
    """How many speakers of recordings are remembered."""

    @classmethod
    def spoken(cls, entry: ModelEntry) -> tuple[str, ...]:  # noqa: ARG003 - for those whose models differ
        """What a model of this entry speaks, without loading it."""
        return cls.languages

    @classmethod
    def names(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The voices that a model of this entry knows by name, without loading it; the first one is the default.

        Raises:
            CheckpointError: its checkpoint does not tell.
        """
        raise NotImplementedError

    def stream(self, job: SpeechJob, is_cancelled: Callable[[], bool] = lambda: False) -> Iterator[Audio]:
        """The spoken text sentence by sentence, of one rate; everything is checked before the first one.

        The same job gives the same samples. Loudness is even over sentences and voices, and what follows one another
        joins without a click. How soon the first one comes does not depend on how long the text is.

        Raises:
            InvalidInput: `text` (nothing to speak), `language`, `speed`, `voice`, `reference` (the recording) or
                `reference_text`.
            Cancelled: (while iterating) soon after `is_cancelled()` is true.
        """
        language = normalise_language(job.language, self.spoken(self.entry))
        if not SLOWEST <= job.speed <= FASTEST:
            raise InvalidInput(f"speed is {job.speed:g}; {SLOWEST:g} to {FASTEST:g} are allowed", "speed")
        text = text_of(job)
        if language == "auto" and text:
            language = self._language_of(text)
        spoken = self._sentences(sentences(text), language, self._speaker(job), job.speed, is_cancelled)
        return _or_silence(spoken) if job.is_literal else _or_refused(spoken)

    def speak(self, job: SpeechJob, is_cancelled: Callable[[], bool] = lambda: False) -> Audio:
        """The spoken text in one piece. Raises as `stream` does."""
        from models.audio import join

        return join(list(self.stream(job, is_cancelled)))

    @abstractmethod
    def _synthesize(
        self, sentence: str, language: str, speaker: S | None, speed: float, is_cancelled: Callable[[], bool]
    ) -> Audio:
        """One sentence (at most some 300 characters) at this speed; `speaker` is None for a voice of the engine's own.

        Raises:
            Cancelled: `is_cancelled()` was true, where the engine can stop within a sentence.
        """

    @abstractmethod
    def _encode_speaker(self, recording: Audio, text: str | None) -> S:
        """The speaker of a recording of 0.5 to 60 s that is neither silent nor clipped; `text` is what is said in it.

        Raises:
            InvalidInput: naming `reference` or `reference_text`.
        """

    @abstractmethod
    def _named(self, name: str | None) -> S | None:
        """The speaker of a voice that the engine knows by name, or of its default (None).

        Raises:
            InvalidInput: naming `voice`; there is none of that name.
        """

    def _language_of(self, text: str) -> str:
        found, spoken = detect_language(text), self.spoken(self.entry)
        if found in spoken:
            return found
        if found == LATIN and (latin := [tag for tag in spoken if tag in WRITTEN_IN_LATIN]):
            return latin[0]
        names = ", ".join(map(language_name, spoken))
        raise InvalidInput(f"the text looks like {language_name(found)}; this voice speaks {names}", "text")

    def _sentences(
        self, pieces: list[str], language: str, speaker: S | None, speed: float, is_cancelled: Callable[[], bool]
    ) -> Iterator[Audio]:
        from models.speech.sound import Joiner

        joiner = Joiner(speed)
        for piece in pieces:
            if is_cancelled():
                raise Cancelled
            with inference():
                spoken = self._synthesize(piece, language, speaker, speed, is_cancelled)
            if len(spoken.samples):
                yield joiner.add(spoken)

    def _speaker(self, job: SpeechJob) -> S | None:
        if job.reference is None:
            return self._named(job.voice)
        return self._heard_in(job.reference, (job.reference_text or "").strip() or None)

    def _heard_in(self, recording: bytes, text: str | None) -> S:
        """The speaker of an encoded recording; the last ones are remembered."""
        from models.speech.audio import read_voice

        key = (hashlib.sha256(recording).hexdigest(), text)
        if key not in self._speakers:
            voice = read_voice(recording, "reference")
            with inference():
                self._speakers[key] = self._encode_speaker(voice, text)
        return self._speakers[key]

    @cached_property
    def _speakers(self) -> LRUCache[tuple[str, str | None], S]:
        return LRUCache(self.kept_speakers)


def _or_refused(spoken: Iterator[Audio]) -> Iterator[Audio]:
    first = next(spoken, None)
    if first is None:
        raise InvalidInput("nothing of the text can be pronounced in this language", "text")
    yield first
    yield from spoken


def _or_silence(spoken: Iterator[Audio]) -> Iterator[Audio]:
    """The same, or a short silence: a client that sends a text in pieces wants sound for each, be it `...`."""
    import numpy as np

    first = next(spoken, None)
    if first is None:
        first = Audio(np.zeros(round(_SILENCE_SECONDS * _SILENCE_RATE), np.float32), _SILENCE_RATE)
    yield first
    yield from spoken
