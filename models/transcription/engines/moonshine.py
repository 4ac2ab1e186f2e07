"""The recogniser that needs no GPU and no download: Moonshine tiny, English, which comes inside the package's wheel.

27 million parameters in 8 bits, by the library of the people who made it (MIT). Its own voice detector is switched off:
`models.transcription.windows` has found the speech. It tells no times of words and takes no prompt.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from models.devices import environment
from models.errors import CheckpointError
from models.tasks import TranscriptionJob, TranscriptSegment
from models.transcription.engine import Abilities, Heard, IsCancelled, TranscriptionEngine
from models.transcription.recording import RATE

if TYPE_CHECKING:
    from models.entry import ModelEntry

_CHECKPOINT: Final = "builtin:listen"
_MODEL: Final = "tiny-en"
_OPTIONS: Final = {"vad_threshold": "0.0", "return_audio_data": "false"}
_REPEATED: Final = re.compile(r"([,.!?])\1+")


class MoonshineEngine(TranscriptionEngine):
    """Moonshine tiny by `moonshine-voice`."""

    is_on_hub: ClassVar[bool] = False

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse any other checkpoint than the one that there is."""
        if entry.checkpoint != _CHECKPOINT:
            raise CheckpointError(
                f"{entry.checkpoint!r}: the engine moonshine has one model, {_CHECKPOINT!r}; other checkpoints of "
                "Moonshine are for the engine asr"
            )

    @classmethod
    def understood(cls, entry: ModelEntry) -> tuple[str, ...]:  # noqa: ARG003 - there is one
        """English."""
        return ("en",)

    @property
    def abilities(self) -> Abilities:
        """English words, and nothing else."""
        return Abilities(self.understood(self.entry))

    @property
    def footprint(self) -> int:
        """Bytes of the weights; 0 when not loaded."""
        return sum(path.stat().st_size for path in self._folder.glob("*.ort")) if self.loaded else 0

    def _load(self) -> None:
        self.check(self.entry)
        try:
            moonshine: Any = import_module("moonshine_voice")
        except ImportError as error:
            raise CheckpointError(
                "the built-in recogniser is in the package moonshine-voice, which there is for Linux (glibc 2.34 or "
                "later) and for macOS 15 on Apple silicon; the engine asr runs on other machines too"
            ) from error
        self._folder = Path(moonshine.get_model_path(_MODEL))
        if not self._folder.is_dir():
            raise CheckpointError(f"this version of moonshine-voice has no {_MODEL} inside; 0.0.73 was the last one")
        # ONNX Runtime's threads, one for each core, spend more time waiting for each other than such small layers take
        with environment("MOONSHINE_ORT_SINGLE_THREAD", "1"):
            self._model = moonshine.Transcriber(str(self._folder), moonshine.ModelArch.TINY, options=dict(_OPTIONS))

    def _hear(
        self,
        samples: np.ndarray,
        job: TranscriptionJob,  # noqa: ARG002 - it takes nothing
        is_cancelled: IsCancelled,  # noqa: ARG002 - nor can it stop; a window takes a second
    ) -> Heard:
        found = self._model.transcribe_without_streaming(samples.tolist(), RATE)
        text = _REPEATED.sub(r"\1", " ".join(line.text for line in found.lines))
        return Heard([TranscriptSegment(text, 0.0, len(samples) / RATE)], "en")
