"""Kyutai's Pocket TTS of transformers: 100 M parameters that speak in the voice of any recording, quick on a CPU.

The model continues one stream: the recording's frames, the text, then the frames that it speaks, 12.5 a second. A
checkpoint speaks one language. All frames are chosen by chance from a fixed seed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from models import checkpoints, devices
from models.audio import resample
from models.engine import Options
from models.errors import Cancelled, CheckpointError
from models.generation import keep_only_token_ids, seeded
from models.speech.cloning import CloningEngine, CloningOptions
from models.speech.speaker import change_voice
from models.tasks import Audio, SpeechJob

if TYPE_CHECKING:
    from models.entry import ModelEntry

_MODEL_TYPE: Final = "pocket_tts"
_LONGEST_REFERENCE: Final = 15.0
"""Seconds of a recording that are heard. Kyutai say that 5 do; each costs 0.6 MB and 0.2 s of a processor, once."""
_LONGEST_PIECE: Final = 30.0
"""Seconds of sound; the 50 tokens that Pocket TTS takes at once last 19 at most."""
_SEED: Final = 0
_HOW_IT_ENDS: Final = ("eos_threshold", "min_frames_before_eos")
"""Generation settings that say when this checkpoint has finished, as an end token does elsewhere."""


class PocketTtsOptions(CloningOptions):
    """What the catalogue entry of a Pocket TTS can say."""

    language: Literal["en", "fr", "de", "pt", "it", "es"] = Field(
        "en", description="language of the checkpoint, which does not tell it: en, fr, de, pt, it or es"
    )
    temperature: float = Field(0.7, gt=0, le=2, description="variance of the noise that each frame starts from")
    flow_steps: int = Field(1, ge=1, le=64, description="steps from noise to a frame")


@dataclass(frozen=True)
class ClonePrompt:
    """The model's state after it has heard a recording: `cache` is a transformers `Cache` of `frames` frames."""

    cache: Any = field(repr=False)
    frames: int


class PocketTtsEngine(CloningEngine[ClonePrompt]):
    """A PocketTTSForConditionalGeneration with its processor and audio tokenizer."""

    Options: ClassVar[type[Options]] = PocketTtsOptions
    options: PocketTtsOptions
    languages: ClassVar[tuple[str, ...]] = ("en", "fr", "de", "pt", "it", "es")

    kept_speakers: ClassVar[int] = 16  # of up to 10 MB each

    @classmethod
    def spoken(cls, entry: ModelEntry) -> tuple[str, ...]:
        """The checkpoint's own language."""
        return (PocketTtsOptions.model_validate(entry.options).language,)

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        return None if kind == _MODEL_TYPE else _no_pocket_tts(kind)

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry)
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint
        revision = self.entry.revision

        from transformers import AutoConfig, PocketTTSForConditionalGeneration, PocketTTSProcessor
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(source, revision=revision)
        if config.model_type != _MODEL_TYPE:
            raise CheckpointError(f"{self.entry.checkpoint!r} {_no_pocket_tts(config.model_type)}")
        self._processor = PocketTTSProcessor.from_pretrained(source, revision=revision)
        codec = self._processor.audio_tokenizer
        if codec is None or codec.config.encoder_config is None or codec.config.decoder_config is None:
            raise CheckpointError(
                f"{self.entry.checkpoint!r} has no audio tokenizer that both encodes and decodes, so that it cannot "
                "clone a voice; take the checkpoint with voice cloning"
            )
        codec.eval().to(device)  # in float32 always: bfloat16 samples would have 8 bits
        model = PocketTTSForConditionalGeneration.from_pretrained(source, revision=revision, config=config, dtype=dtype)
        self._model = model.eval().to(device)
        keep_only_token_ids(model, *_HOW_IT_ENDS)

    def _modules(self) -> Sequence[Any]:
        return [self._model, self._processor.audio_tokenizer]

    def _warm_up(self) -> None:
        self.speak(SpeechJob("Ready."))

    def _synthesize(
        self,
        sentence: str,
        language: str,  # noqa: ARG002 - the checkpoint has one
        speaker: ClonePrompt | None,
        speed: float,
        is_cancelled: Callable[[], bool],
    ) -> Audio:
        assert speaker is not None  # every voice of a cloning engine is a recording's
        pieces = [self._spoken(text, speaker, is_cancelled) for text in self._processor.split_text(sentence)]
        spoken = Audio(np.concatenate([np.empty(0, np.float32), *pieces]), self._rate)
        return change_voice(spoken, slower=1 / speed)

    def _encode_speaker(self, recording: Audio, text: str | None) -> ClonePrompt:  # noqa: ARG002 - words tell it nothing
        import torch

        heard = Audio(recording.samples[: int(_LONGEST_REFERENCE * recording.rate)], recording.rate)
        samples = resample(heard, self._rate).samples
        codec, device = self._processor.audio_tokenizer, self._model.device
        with torch.inference_mode():
            inputs = self._processor.feature_extractor(samples, sampling_rate=self._rate).to(device)
            latents = codec.encode(inputs["input_values"], inputs["padding_mask"]).latents
            ids = torch.tensor([[*self._begins, *[self._model.config.audio_prompt_token_id] * latents.shape[1]]])
            state = self._model(input_ids=ids.to(device), audio_prompt_latents=latents, use_cache=True)
        return ClonePrompt(state.past_key_values, latents.shape[1])

    @property
    def _rate(self) -> int:
        rate: int = self._processor.feature_extractor.sampling_rate
        return rate

    @property
    def _begins(self) -> list[int]:
        """What stands before a recording's frames: older checkpoints have nothing there."""
        token = self._processor.audio_prompt_bos_token
        return [] if token is None else [self._processor.tokenizer.convert_tokens_to_ids(token)]

    def _spoken(self, text: str, speaker: ClonePrompt, is_cancelled: Callable[[], bool]) -> np.ndarray:
        """The samples of a text of some 50 tokens, which ends where the model ends it or where it is too long."""
        import torch

        inputs = self._prompt(text).to(self._model.device)
        seconds = min(inputs["input_ids"].shape[1] / 3 + 2, _LONGEST_PIECE)  # Pocket TTS' own measure
        with torch.inference_mode(), seeded(self._model, _SEED), self._asking(is_cancelled):
            made = self._model.generate(
                **inputs,
                past_key_values=copy.deepcopy(speaker.cache),  # it grows
                max_new_tokens=int(seconds * self._model.config.frame_rate),
                do_sample=True,
                temperature=self.options.temperature,
                num_flow_steps=self.options.flow_steps,
                return_dict_in_generate=True,
            )
            samples: np.ndarray = self._processor.decode(made.audio_latents[0]).numpy()
        return samples

    def _prompt(self, text: str) -> Any:
        """The ids of a text as the checkpoint's template has it, and how many frames follow the last word."""
        conversation = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        return self._processor.apply_chat_template(
            conversation, tokenize=True, return_dict=True, return_tensors="pt", sanitize_control_tokens=True
        )

    @contextmanager
    def _asking(self, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Before each frame, and before each layer that makes sound of them, whether anybody still waits.

        `generate` leaves out all stopping criteria but its own, and making sound takes a third of the time.
        """

        def ask(*_: Any) -> None:
            if is_cancelled():
                raise Cancelled

        with ExitStack() as hooks:
            for module in (self._model, *self._processor.audio_tokenizer.decoder.modules()):
                hooks.enter_context(module.register_forward_pre_hook(ask))
            yield


def _no_pocket_tts(kind: object) -> str:
    return f"is a {kind} model, not a Pocket TTS of transformers"
