"""Recognisers of speech by mlx-audio: Whisper, Parakeet, Qwen3-ASR and others, on Apple silicon; on the CPU elsewhere.

Tested with a Whisper and a Moonshine of random weights on the CPU; no released checkpoint, and no Mac. Other models of
mlx-audio are called in the same way, with what their `generate` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from models import checkpoints
from models.errors import CheckpointError
from models.mlx_weights import is_of_mlx_audio, parameter_bytes, prepare_mlx, set_dtype
from models.tasks import TimedWord, TranscriptionJob, TranscriptSegment
from models.transcription.engine import CONTROL_TOKENS, Abilities, Heard, IsCancelled, TranscriptionEngine
from models.transcription.languages import NAMES, name_of
from models.transcription.recording import RATE

if TYPE_CHECKING:
    from models.entry import ModelEntry

_SEED: Final = 0
_PROMPTS: Final = ("initial_prompt", "system_prompt", "prompt", "context")
"""What models of mlx-audio call the text that says how names are spelled."""


class MlxAsrEngine(TranscriptionEngine):
    """A speech-to-text model of mlx-audio."""

    joined_seconds: ClassVar[float] = 24.0
    longest_seconds: ClassVar[float] = 29.0

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        if is_of_mlx_audio(config, "stt"):
            return None
        return f"is a {config.get('model_type')} model, which mlx-audio does not write speech down with"

    @classmethod
    def _takes_whole_repository(cls, entry: ModelEntry) -> bool:  # noqa: ARG003 - as of every one
        return True

    def _load(self) -> None:
        prepare_mlx(self.entry, "mlx-audio", ["scipy"])
        from mlx_audio.stt.utils import load
        from mlx_audio.utils import get_model_path, load_config

        folder = get_model_path(
            str(checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint), revision=self.entry.revision
        )
        if wrong := self._mismatch(load_config(folder)):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")
        self._model = load(folder, strict=True)
        if not hasattr(self._model, "dtype"):  # Whisper works in that of its checkpoint alone
            set_dtype(self._model, self.entry.dtype)
        self._is_whisper = hasattr(self._model, "num_languages")
        self._taken = frozenset(signature(self._model.generate).parameters)

    @property
    def footprint(self) -> int:
        """Bytes of the parameters in memory; 0 when not loaded."""
        return parameter_bytes(self._model) if self.loaded else 0

    @property
    def abilities(self) -> Abilities:
        """What the model's `generate` takes."""
        return Abilities(
            self._languages,
            reads_prompts=self._prompt_name is not None,
            has_temperature="temperature" in self._taken,
            times_words="word_timestamps" in self._taken,
            translates="task" in self._taken and bool(getattr(self._model, "is_multilingual", False)),
        )

    @property
    def _languages(self) -> tuple[str, ...]:
        """Those of a Whisper; other models do not say."""
        if not self._is_whisper:
            return ()
        if not self._model.is_multilingual:
            return ("en",)
        from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES

        return tuple(LANGUAGES)[: self._model.num_languages]

    @property
    def _prompt_name(self) -> str | None:
        return next((name for name in _PROMPTS if name in self._taken), None)

    def _hear(self, samples: np.ndarray, job: TranscriptionJob, is_cancelled: IsCancelled) -> Heard:  # noqa: ARG002
        import mlx.core as mx

        mx.random.seed(_SEED)
        asked = {
            "language": job.language,
            "task": "translate" if job.translates else "transcribe",
            # at 0 a Whisper tries again by itself where it repeats itself or is unsure
            "temperature": None if self._is_whisper and not job.temperature else job.temperature,
            "condition_on_previous_text": False,
            "word_timestamps": job.times_words,
        }
        if self._prompt_name is not None:
            asked[self._prompt_name] = CONTROL_TOKENS.sub(" ", job.prompt) if job.prompt else None
        asked = {name: value for name, value in asked.items() if name in self._taken and value is not None}
        found = self._model.generate(mx.array(samples), **asked)
        seconds = len(samples) / RATE
        segments = list(_segments(found, seconds)) or [TranscriptSegment(found.text, 0.0, seconds)]
        return Heard(segments, _tag_of(getattr(found, "language", None)) or job.language)


def _segments(found: Any, seconds: float) -> Iterator[TranscriptSegment]:
    """The passages of a result of mlx-audio: dictionaries, or sentences of timed tokens (Parakeet)."""
    for each in getattr(found, "segments", None) or ():
        words = tuple(TimedWord(word["word"], word["start"], word["end"]) for word in each.get("words") or ())
        tokens = tuple(int(token) for token in each.get("tokens") or ())
        mean = float(each.get("avg_logprob") or 0.0)
        yield TranscriptSegment(
            each["text"],
            each.get("start", 0.0),
            each.get("end", seconds),
            words=words,
            tokens=tokens,
            log_probability=mean if isfinite(mean) else 0.0,
        )
    for each in getattr(found, "sentences", None) or ():
        yield TranscriptSegment(each.text, each.start, each.end)


def _tag_of(name: object) -> str | None:
    """The tag of a language as a model names it."""
    given = name[0] if isinstance(name, list) and name else name
    given = str(given or "").lower()
    return given if given in NAMES else next((tag for tag in NAMES if name_of(tag) == given), None)
