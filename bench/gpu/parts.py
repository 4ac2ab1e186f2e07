"""The parts of a run, in order of worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Part:
    """One part: `runs` is a function of `Work` and `arguments`.

    `seconds` it gets at most; `gigabytes` are what its checkpoints have on disk. `environment`: the packages that come
    before the server's own, by name.
    """

    name: str
    title: str
    runs: str
    seconds: float
    gigabytes: float = 0.0
    arguments: tuple[Any, ...] = ()
    environment: str | None = None

    @property
    def bytes(self) -> int:
        """Of its checkpoints on disk."""
        return int(self.gigabytes * 1e9)

    def least_seconds(self, tiny: bool) -> float:
        """With fewer seconds it is not worth its beginning: libraries, and half a second for each GB."""
        return 1.0 if tiny else 10 + self.gigabytes / 2


CARD: Final = Part("card", "the machine", "bench.gpu.card:look", 60)
"""Comes first; where it fails, nothing else can run."""

PARTS: Final[tuple[Part, ...]] = (
    Part("klein", "FLUX.2 klein 4B", "bench.gpu.pictures:run", 110, 16.2, ("klein",)),
    Part("z-image", "Z-Image Turbo", "bench.gpu.pictures:run", 90, 20.6, ("z-image",)),
    Part("dev", "FLUX.1 dev", "bench.gpu.pictures:run", 130, 33.8, ("dev",)),
    Part("schnell", "FLUX.1 schnell", "bench.gpu.pictures:run", 70, 33.8, ("schnell",)),
    Part("speech", "Qwen3-TTS 1.7B", "bench.gpu.speech:run", 60, 4.5, environment="qwen_tts"),
    Part("chat", "Qwen2.5-VL 7B", "bench.gpu.chat:run", 90, 16.6),
    Part("search", "SigLIP2 B/16", "bench.gpu.search:run", 30, 0.8),
    Part("server", "the whole server", "bench.gpu.server:run", 120, 16.2),
    Part("qwen-image", "Qwen-Image", "bench.gpu.pictures:run", 110, 57.7, ("qwen-image",)),
)
