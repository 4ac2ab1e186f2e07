"""Recognisers of speech by transformers: Whisper, Moonshine, Parakeet, Qwen3-ASR and the others that it knows.

A checkpoint is of one of three families, told by its config.json and its processor:

- Whisper tells times of segments and words and which language it hears, takes a prompt, and translates into English.
- Models that are asked in a chat (Qwen3-ASR, Voxtral, GLM-ASR, Canary …): their processors make the request.
- All others: sequence to sequence (Moonshine, Speech2Text …), CTC (Parakeet, Wav2Vec2 …), where
  some tell times of words (Wav2Vec2), and transducers (Parakeet TDT and RNN-T).

The first and the last go through transformers' own pipeline. Checkpoints other than Whisper, Moonshine, Wav2Vec2,
Parakeet (CTC) and Qwen3-ASR are called by the same interfaces, and none of them was tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar, Final

import numpy as np

from models import checkpoints, devices
from models.audio import resample
from models.errors import Cancelled, CheckpointError
from models.generation import seeded
from models.tasks import Audio, TimedWord, TranscriptionJob, TranscriptSegment
from models.transcription.engine import CONTROL_TOKENS, Abilities, Heard, IsCancelled, TranscriptionEngine
from models.transcription.languages import NAMES, name_of
from models.transcription.recording import RATE

_WHISPER: Final = "whisper"
_FALLBACK: Final = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
}
"""At temperature 0 Whisper tries again where it repeats itself or is unsure (section 4.5 of its paper)."""
_SEED: Final = 0
_MOST_TOKENS: Final = 440
"""Of a window; Whisper's positions are 448, and half a minute of fast speech is some 200."""
_TAG: Final = re.compile(r"<\|([a-z]{2,3})\|>")


class AsrEngine(TranscriptionEngine):
    """A model of one of transformers' classes for speech recognition."""

    joined_seconds: ClassVar[float] = 24.0
    longest_seconds: ClassVar[float] = 29.0
    """Whisper hears 30 s, whatever it is given; what is shorter costs as much."""

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        return None if _auto_class(kind) else f"is a {kind} model, which transformers does not write speech down with"

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry)
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint
        revision = self.entry.revision

        import transformers
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
        if wrong := self._mismatch({"model_type": config.model_type}):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")
        auto = getattr(transformers, _auto_class(config.model_type) or "")
        model = auto.from_pretrained(source, revision=revision, config=config, dtype=dtype)
        self._model = model.eval().to(device)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.max_length = None  # every call says how many tokens there may be
        processor = transformers.AutoProcessor.from_pretrained(source, revision=revision)
        self._asks = hasattr(processor, "apply_transcription_request")
        self._processor = processor
        self._rate = int(processor.feature_extractor.sampling_rate)
        self._is_whisper = config.model_type == _WHISPER
        self._generates = _auto_class(config.model_type) != "AutoModelForCTC"
        self._told = (
            frozenset(signature(processor.apply_transcription_request).parameters) if self._asks else frozenset()
        )
        self._pipeline = None
        if not self._asks:
            self._pipeline = transformers.AutomaticSpeechRecognitionPipeline(
                model=self._model,
                tokenizer=processor.tokenizer,
                feature_extractor=processor.feature_extractor,
                device=device,
            )

    @property
    def abilities(self) -> Abilities:
        """What the checkpoint's files say that it can do."""
        if self._is_whisper:
            settings = self._model.generation_config
            known = tuple(_TAG.sub(r"\1", tag) for tag in getattr(settings, "lang_to_id", None) or {})
            return Abilities(
                known if getattr(settings, "is_multilingual", True) else ("en",),
                reads_prompts=True,
                has_temperature=True,
                times_words=bool(getattr(settings, "alignment_heads", None)),
                translates=bool(getattr(settings, "is_multilingual", True)),
            )
        return Abilities(
            self._languages if {"language", "source_language"} & self._told else (),
            reads_prompts="prompt" in self._told,
            has_temperature=self._asks,
            times_words=self._tells_offsets,
            translates="target_language" in self._told,
        )

    @property
    def _tells_offsets(self) -> bool:
        """Whether a tokenizer of CTC says where its letters stand; that of Parakeet does not."""
        return not self._generates and "output_word_offsets" in signature(self._processor.tokenizer.decode).parameters

    @property
    def _languages(self) -> tuple[str, ...]:
        """Those that the processor's own module lists."""
        from importlib import import_module

        listed = getattr(import_module(type(self._processor).__module__), "LANGUAGE_CODE_TO_NAME", NAMES)
        return tuple(listed)

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _hear(self, samples: np.ndarray, job: TranscriptionJob, is_cancelled: IsCancelled) -> Heard:
        sound = resample(Audio(samples, RATE), self._rate).samples
        with self._asking(is_cancelled), seeded(self._model, _SEED):
            if self._pipeline is None:
                text = self._requested(sound, job)
            elif self._is_whisper:
                return self._by_whisper(sound, job)
            else:
                return self._by_pipeline(sound, job)
        return Heard([TranscriptSegment(text, 0.0, len(samples) / RATE)], job.language)

    def _by_whisper(self, sound: np.ndarray, job: TranscriptionJob) -> Heard:
        assert self._pipeline is not None
        asked: dict[str, Any] = {"max_new_tokens": self._room(job), "num_beams": 1}
        if getattr(self._model.generation_config, "is_multilingual", True):
            asked |= {"language": job.language, "task": "translate" if job.translates else "transcribe"}
        asked |= {"do_sample": True, "temperature": job.temperature} if job.temperature else _FALLBACK
        if job.prompt:
            asked["prompt_ids"] = self._prompt(job.prompt)
        timed = "word" if job.times_words else True
        found = self._pipeline(sound, return_timestamps=timed, return_language=True, generate_kwargs=asked)
        seconds = len(sound) / self._rate
        chunks = [(each["text"], *_times(each["timestamp"], seconds)) for each in found["chunks"]]
        language = next((_tag_of(each["language"]) for each in found["chunks"] if each.get("language")), None)
        if job.times_words:
            words = tuple(TimedWord(*chunk) for chunk in chunks if chunk[0].strip())
            return Heard([TranscriptSegment(found["text"], *_span(words, seconds), words=words)], language)
        return Heard([TranscriptSegment(*chunk) for chunk in chunks], language)

    def _by_pipeline(self, sound: np.ndarray, job: TranscriptionJob) -> Heard:
        assert self._pipeline is not None
        asked: dict[str, Any] = {"return_timestamps": "word"} if job.times_words else {}
        if self._generates:
            asked["generate_kwargs"] = {"num_beams": 1}
        found = self._pipeline(sound, **asked)
        seconds = len(sound) / self._rate
        words = tuple(TimedWord(each["text"], *_times(each["timestamp"], seconds)) for each in found.get("chunks", ()))
        return Heard([TranscriptSegment(found["text"], *_span(words, seconds), words=words)], job.language)

    def _requested(self, sound: np.ndarray, job: TranscriptionJob) -> str:
        """What a model says that is asked in a chat."""
        given = {
            "language": job.language,
            "source_language": job.language or "en",
            "target_language": "en" if job.translates else None,
            "prompt": job.prompt,
            "model_id": self.entry.checkpoint,
            "sampling_rate": self._rate,
            "format": "WAV",
        }
        given = {name: value for name, value in given.items() if name in self._told and value is not None}
        inputs = self._processor.apply_transcription_request(audio=sound, return_tensors="pt", **given)
        inputs = inputs.to(self._model.device, dtype=self._model.dtype)
        asked: dict[str, Any] = {"do_sample": False, "max_new_tokens": _MOST_TOKENS}
        if job.temperature:
            asked |= {"do_sample": True, "temperature": job.temperature}
        made = self._model.generate(**inputs, **asked)
        read = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        decoding = signature(self._processor.decode).parameters
        told: dict[str, Any] = {"return_format": "transcription_only"} if "return_format" in decoding else {}
        text = self._processor.decode(made[0, read:], skip_special_tokens=True, **told)
        return str(text)

    def _prompt(self, text: str) -> Any:
        """The last tokens of a prompt, as many as Whisper has room for beside an answer."""
        ids = self._processor.get_prompt_ids(CONTROL_TOKENS.sub(" ", text), return_tensors="pt")
        most = self._model.config.max_target_positions // 2 - 1
        return (ids if len(ids) <= most else _joined(ids[:1], ids[1 - most :])).to(self._model.device)

    def _room(self, job: TranscriptionJob) -> int:
        """How many tokens of an answer fit beside the prompt and the four that begin it."""
        read = len(self._prompt(job.prompt)) if job.prompt else 0
        return min(_MOST_TOKENS, int(self._model.config.max_target_positions) - read - 5)

    @contextmanager
    def _asking(self, is_cancelled: IsCancelled) -> Iterator[None]:
        """Before each forward of the model, whether anybody still waits."""

        def ask(*_: Any) -> None:
            if is_cancelled():
                raise Cancelled

        hook = self._model.register_forward_pre_hook(ask)
        try:
            yield
        finally:
            hook.remove()


def _auto_class(kind: object) -> str | None:
    """The class of transformers that loads models of a type; None where it has none that writes speech down."""
    from transformers.models.auto import modeling_auto

    for name, mapping in (
        ("AutoModelForSpeechSeq2Seq", modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
        ("AutoModelForCTC", modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES),
        ("AutoModelForTDT", modeling_auto.MODEL_FOR_TDT_MAPPING_NAMES),
        ("AutoModelForRNNT", modeling_auto.MODEL_FOR_RNNT_MAPPING_NAMES),
    ):
        if kind in mapping:
            return name
    return None


def _times(given: tuple[float | None, float | None], seconds: float) -> tuple[float, float]:
    """Begin and end, where a model may leave out those at the window's edge."""
    begin, end = given
    return float(begin or 0.0), seconds if end is None else float(end)


def _span(words: Sequence[TimedWord], seconds: float) -> tuple[float, float]:
    return (words[0].start, words[-1].end) if words else (0.0, seconds)


def _tag_of(name: str) -> str | None:
    """The tag of a language as transformers names it, by its name or its tag."""
    return name if name in NAMES else next((tag for tag in NAMES if name_of(tag) == name), None)


def _joined(*ids: Any) -> Any:
    import torch

    return torch.cat(ids)
