"""What a part has to work with in its own process: a folder, a device, a deadline, and whom to say what it found."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.gpu.report import Figure, LeftOut, Message, Problem
from models.devices import first_line, free_device_cache, is_device_lost
from models.engine import Engine

T = TypeVar("T")

GB = 1e9
ROUNDS = 3
"""Timed calls after one that does not count; the median is the figure. A tiny run times one."""


@dataclass
class Work:
    """A part at work.

    `deadline` is of `time.monotonic()`: what cannot be begun before it is left out, and a little later the process is
    killed. `drawn`: weights are drawn on the device in the place of being read, so that loading says nothing.
    `next_turn` waits until this part may go on, given the seconds that it needs, and gives the deadline of that.
    """

    tiny: bool
    folder: Path
    deadline: float
    say: Callable[[Message], None]
    drawn: bool = False
    next_turn: Callable[[float], float] | None = None

    @property
    def device(self) -> str:
        """Where torch computes."""
        return "cpu" if self.tiny else "cuda"

    def turn(self, needs: float = 20.0) -> None:
        """Let parts work that need fewer seconds, then go on; at once, where parts take no turns."""
        if self.next_turn is not None:
            if not self.tiny:
                import torch

                torch.empty(1, device=self.device)  # the first one waits for the driver
            gc.collect()
            free_device_cache()
            self.deadline = self.next_turn(needs)

    def figure(self, what: str, value: float, unit: str, **more: Any) -> None:
        """Say a value; see `Figure`. Targets are those of a real run."""
        if self.tiny:
            more.pop("target", None)
        self.say(Figure(what, round(value, 4), unit, **more))

    def attempt(self, what: str, call: Callable[[], T], *, needs: float = 5.0) -> T | None:
        """What `call` returns; None where it failed or there is no time, which is said in one line.

        `needs` are the seconds that it takes on a GPU, about.
        """
        if time.monotonic() + (0 if self.tiny else needs) > self.deadline:
            self.say(LeftOut(f"{what}: no time is left"))
            return None
        try:
            return call()
        except Exception as error:  # whatever it is, the next one gets its turn
            self.say(Problem(f"{what}: {type(error).__name__}: {first_line(error)}"))
            if is_device_lost(error):
                raise
        gc.collect()  # outside of the handler, which holds the failed call's frames
        free_device_cache()
        return None

    def load(self, what: str, engine: Engine) -> Engine | None:
        """The engine, loaded and warmed up, with its load time and the bytes of its weights said."""

        def loaded() -> Engine:
            engine.load()
            if not self.drawn:
                self.figure(f"load, {what}", engine.load_seconds, "s")
            self.figure(f"weights, {what}", engine.footprint / GB, "GB")
            engine.warm_up()
            return engine

        return self.attempt(f"load, {what}", loaded, needs=15)

    def seconds(self, call: Callable[[], Any], rounds: int | None = None) -> float:
        """The median of several calls, after one that does not count."""
        count = 1 if self.tiny else rounds or ROUNDS
        call()
        return statistics.median(self._one(call) for _ in range(count))

    def _one(self, call: Callable[[], Any]) -> float:
        begun = time.perf_counter()
        call()
        if not self.tiny:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter() - begun

    def forget_peak(self) -> None:
        """Restart the measurement of the most memory."""
        if not self.tiny:
            import torch

            gc.collect()  # or a model of before counts too
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def say_peak(self, what: str, promise: float | None = None) -> None:
        """The most memory of the GPU that this process has held since, beside what the entry promises, in GB."""
        if not self.tiny:
            import torch

            self.figure(f"memory at most, {what}", torch.cuda.max_memory_reserved() / GB, "GB", target=promise)
