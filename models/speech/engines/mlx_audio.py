"""Voices of mlx-audio that imitate a recording, Qwen3-TTS above all: Apple silicon, and the CPU elsewhere.

Tested with Qwen3-TTS (Base). Other models of mlx-audio are called in the same way, with what their `generate` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from models import checkpoints
from models.audio import resample
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError
from models.mlx_internals import use_speaker
from models.mlx_weights import is_of_mlx_audio, parameter_bytes, prepare_mlx, set_dtype
from models.speech.cloning import CloningEngine
from models.speech.qwen3_tts import MODEL_TYPE, SAMPLING, not_a_base
from models.speech.speaker import change_voice
from models.speech.text import LANGUAGES, language_name, most_seconds, pronounceable
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    import mlx.core as mx

_STEPS: Final = 4
_INTERVAL: Final = 0.32
"""Seconds of sound, `_STEPS` steps of Qwen3-TTS, between two looks at whether anybody still waits."""
_SEED: Final = 0


@dataclass(frozen=True)
class Reference:
    """A recording at the model's rate, what is said in it, and what Qwen3-TTS makes of it.

    `codes` are filled by the first sentence in this voice, and read by all others.
    """

    samples: mx.array = field(repr=False)
    text: str | None
    embedding: mx.array | None = field(repr=False)
    codes: dict[Any, Any] = field(default_factory=dict, repr=False)


class MlxSpeechEngine(CloningEngine[Reference]):
    """A model of mlx-audio. Qwen3-TTS clones in context where the recording's words are known, else by timbre alone."""

    languages: ClassVar[tuple[str, ...]] = tuple(LANGUAGES)
    uses_words: ClassVar[bool] = True

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        if kind == MODEL_TYPE:
            return not_a_base(config)
        if is_of_mlx_audio(config, "tts"):
            return None
        return f"is a {kind} model, which mlx-audio does not speak with"

    @classmethod
    def _takes_whole_repository(cls, entry: ModelEntry) -> bool:  # noqa: ARG003 - as of every one
        return True

    def _load(self) -> None:
        prepare_mlx(self.entry, "mlx-audio", ["scipy"])
        from mlx_audio.registry import model_type_from_config
        from mlx_audio.tts.utils import get_model_and_args, load
        from mlx_audio.utils import get_model_path, load_config

        folder = get_model_path(
            str(checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint), revision=self.entry.revision
        )
        config = load_config(folder)
        if wrong := self._mismatch(config):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")
        architecture, kind = get_model_and_args(model_type_from_config(config), None)
        self._taken = frozenset(signature(architecture.Model.generate).parameters)
        if "ref_audio" not in self._taken:
            raise CheckpointError(f"{self.entry.checkpoint!r} is a {kind} model, which cannot imitate a recording")
        if kind == MODEL_TYPE and not any(folder.glob("speech_tokenizer/*.safetensors")):  # mlx-audio would draw some
            raise CheckpointError(f"{self.entry.checkpoint!r} has no weights in speech_tokenizer")
        self._model = load(folder)
        for part in ("tokenizer", "speech_tokenizer") if kind == MODEL_TYPE else ():
            if getattr(self._model, part) is None:  # mlx-audio prints why, and goes on without
                raise CheckpointError(f"{self.entry.checkpoint!r} has no {part} that mlx-audio can load")
        # the codec as it is: a sample of bfloat16 would have 8 bits, and what is compiled cannot be changed
        set_dtype(self._model, self.entry.dtype, kept=["speech_tokenizer"])
        self._embed = self._model.extract_speaker_embedding if kind == MODEL_TYPE else None
        tokenizer = getattr(self._model, "tokenizer", None)
        self._control_tokens = [token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]

    @property
    def footprint(self) -> int:
        """Bytes of the parameters in memory; 0 when not loaded."""
        return parameter_bytes(self._model) if self.loaded else 0

    def _warm_up(self) -> None:
        self.speak(SpeechJob("Ready."))

    def _encode_speaker(self, recording: Audio, text: str | None) -> Reference:
        import mlx.core as mx

        samples = mx.array(resample(recording, self._rate).samples)
        embedding = None if self._embed is None else self._embed(samples)
        return Reference(samples, pronounceable(text or "", self._control_tokens) or None, embedding)

    def _synthesize(
        self, sentence: str, language: str, speaker: Reference | None, speed: float, is_cancelled: Callable[[], bool]
    ) -> Audio:
        import mlx.core as mx

        assert speaker is not None  # every voice of a cloning engine is a recording's
        text = pronounceable(sentence, self._control_tokens)
        longest = round(most_seconds(text) * self._rate)
        spoken = np.empty(0, np.float32)
        if text:
            mx.random.seed(_SEED)
            with closing(self._generate(text, language, speaker)) as pieces:
                for piece in pieces:
                    if is_cancelled():
                        raise Cancelled
                    spoken = np.append(spoken, np.array(piece.audio.astype(mx.float32)))
                    if len(spoken) >= longest:
                        break
        return change_voice(Audio(spoken[:longest], self._rate), slower=1 / speed)

    def _generate(self, text: str, language: str, speaker: Reference) -> Generator[Any, None, None]:
        """Pieces of sound, [samples] or [1, samples], as the model makes them."""
        if speaker.embedding is not None:
            use_speaker(self._model, speaker.codes, speaker.embedding)
        arguments: dict[str, Any] = {
            "ref_audio": speaker.samples,
            "ref_text": speaker.text,
            "lang_code": self._name_of(language),
            "stream": True,
            "streaming_interval": _INTERVAL,
            "verbose": False,
        }
        if speaker.embedding is not None:  # Qwen3-TTS
            arguments |= {**SAMPLING, "max_tokens": round(most_seconds(text) * _STEPS / _INTERVAL)}
        pieces: Generator[Any, None, None] = self._model.generate(
            text, **{name: value for name, value in arguments.items() if name in self._taken}
        )
        return pieces

    def _name_of(self, language: str) -> str:
        """The language as the model calls it: by its English name where it lists that, else by its tag."""
        tag = language.split("-")[0]
        name = language_name(tag).lower()
        return name if name in getattr(self._model, "supported_languages", ()) else tag

    @property
    def _rate(self) -> int:
        return int(self._model.sample_rate)
