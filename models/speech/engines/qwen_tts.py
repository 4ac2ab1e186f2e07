"""Qwen3-TTS through qwen-tts: one sentence at a time, in the voice of a recording."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final

import numpy as np

from models import checkpoints, devices
from models.audio import resample
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError
from models.generation import keep_only_token_ids
from models.speech.cloning import CloningEngine
from models.speech.qwen3_tts import MODEL_TYPE, SAMPLING, not_a_base
from models.speech.speaker import change_voice
from models.speech.stock_voices import stock_recording, stock_voices
from models.speech.text import LANGUAGES, language_name, most_seconds, pronounceable
from models.tasks import Audio, SpeechJob

_SEED: Final = 0


class QwenTtsEngine(CloningEngine[list[Any]]):
    """A Base checkpoint, which clones: in context where the recording's words are known, else by its timbre alone."""

    environment: ClassVar[str | None] = "qwen_tts"
    languages: ClassVar[tuple[str, ...]] = tuple(LANGUAGES)
    uses_words: ClassVar[bool] = True

    @classmethod
    def _takes_whole_repository(cls, entry: ModelEntry) -> bool:  # noqa: ARG003 - as of every one
        return True

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry, ["scipy"])
        qwen_tts = import_qwen_tts()

        from huggingface_hub import snapshot_download
        from transformers.utils import logging

        logging.disable_progress_bar()
        # qwen-tts itself would take the processor from another revision than the weights
        source = checkpoints.local_folder(self.entry.checkpoint) or Path(
            snapshot_download(self.entry.checkpoint, revision=self.entry.revision)
        )
        if wrong := self._mismatch(json.loads((source / self.marker).read_text("utf-8"))):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")
        self._model = qwen_tts.Qwen3TTSModel.from_pretrained(str(source), device_map=device, dtype=dtype)
        talker, codec = self._model.model.talker, self._model.model.speech_tokenizer
        codec.model.float()  # bfloat16 samples would have 8 bits
        keep_only_token_ids(self._model.model)
        talker.generation_config.pad_token_id = talker.config.codec_pad_id  # or a line is logged for every sentence
        self._rate: int = codec.get_output_sample_rate()
        self._frames_per_second = self._rate / codec.get_decode_upsample_rate()
        added = self._model.processor.tokenizer.added_tokens_decoder.values()
        self._control_tokens = [token.content for token in added]

    def _modules(self) -> Sequence[Any]:
        return [self._model.model, self._model.model.speech_tokenizer.model]

    def _warm_up(self) -> None:
        self.speak(SpeechJob("Ready.", "en", *stock_recording(stock_voices()[0])))

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        return not_a_base(config) if kind == MODEL_TYPE else f"is a {kind} model, which qwen-tts does not load"

    def _encode_speaker(self, recording: Audio, text: str | None) -> list[Any]:
        heard = resample(recording, self._model.model.speaker_encoder_sample_rate)
        samples = np.clip(heard.samples, -1, 1)  # MP3 swings beyond full level, about which qwen-tts would print lines
        words = pronounceable(text or "", self._control_tokens) or None
        prompt: list[Any] = self._model.create_voice_clone_prompt(
            (samples, heard.rate), words, x_vector_only_mode=words is None
        )
        return prompt

    def _synthesize(
        self,
        sentence: str,
        language: str,
        speaker: list[Any] | None,
        speed: float,
        is_cancelled: Callable[[], bool],
    ) -> Audio:
        import torch

        def look(*_: Any) -> None:
            if is_cancelled():
                raise Cancelled

        text = pronounceable(sentence, self._control_tokens)
        if not text:
            return Audio(np.empty(0, np.float32), self._rate)
        torch.manual_seed(_SEED)
        # its `generate` passes no stopping criteria on to the part that goes frame by frame
        watch = self._model.model.talker.register_forward_pre_hook(look)
        try:
            (samples,), rate = self._model.generate_voice_clone(
                text,
                language_name(language.split("-")[0]),
                voice_clone_prompt=speaker,
                max_new_tokens=round(most_seconds(text) * self._frames_per_second),
                do_sample=True,
                subtalker_dosample=True,
                **SAMPLING,
                **{f"subtalker_{name}": SAMPLING[name] for name in ("temperature", "top_k", "top_p")},
            )
        finally:
            watch.remove()
        return change_voice(Audio(samples, rate), slower=1 / speed)


def import_qwen_tts() -> Any:
    """The package, without its tokenizer of 25 Hz.

    No released checkpoint has that tokenizer, but importing qwen-tts imports it, and that needs SoX, onnxruntime and a
    torchaudio made for the very CUDA version of torch, which is no longer to be had. An empty module stands for it.

    Raises:
        CheckpointError: the package is not there.
    """
    absent = ModuleType("qwen_tts.core.tokenizer_25hz.modeling_qwen3_tts_tokenizer_v1")
    vars(absent)["Qwen3TTSTokenizerV1Model"] = object
    sys.modules.setdefault(absent.__name__, absent)
    try:
        import qwen_tts
    except ImportError as error:
        raise CheckpointError(
            f"qwen-tts cannot be imported ({devices.first_line(error)}); "
            "`deploy/environment.sh qwen_tts` installs it, on each machine"
        ) from error
    return qwen_tts
