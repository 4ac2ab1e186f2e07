"""How fast and how well the built-in model writes speech down: `python -m bench.transcription`.

On one core, in process: sixty seconds by a person who reads Dickens (a recording in the package of the model), and by
the built-in voice.
"""

from __future__ import annotations

import io
import os
import platform
import re
import statistics
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

import settings
from bench.overhead import ROOT
from models.audio import resample
from models.catalog import create_engine
from models.speech.engine import SpeechEngine
from models.tasks import Audio, SpeechJob, TranscriptionJob
from models.transcription.engine import TranscriptionEngine
from models.transcription.recording import RATE, read_blocks
from models.transcription.windows import windows

SECONDS = 60
ROUNDS = 5
SPOKEN = (
    "Good morning to all of you. Please call me back tomorrow afternoon. The old man walked slowly down to the river. "
    "The weather is very nice today. My brother works in a hospital. The train to London leaves at noon."
)
READ = """
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the
epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was the
spring of hope, it was the winter of despair, we had everything before us, we had nothing before us, we were all going
direct to Heaven, we were all going direct the other way; in short, the period was so far like the present period, that
some of its noisiest authorities insisted on its being received, for good or for evil, in the superlative degree of
comparison only.
"""


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    engine = create_engine(settings.load(ROOT / "serve_config.yaml", {}).models["listen"])
    assert isinstance(engine, TranscriptionEngine)
    engine.load()
    engine.warm_up()
    console.print(f"{platform.machine()}, one of {os.cpu_count()} cores, Python {platform.python_version()}")
    table = Table("speech by", "words wrong", f"{SECONDS} s of it", "the processor", "finding speech", "first passage")
    for name, sound, text in (("a person", _read_aloud(), READ), ("the built-in voice", _spoken(), SPOKEN)):
        wrong = error_rate(words(text), words(_text(engine, encoded(sound))))
        minute = encoded(_as_long_as(sound, SECONDS))
        times = [_times(engine, minute) for _ in range(ROUNDS)]
        whole, worked, first = (statistics.median(each) for each in zip(*times, strict=True))
        finding = statistics.median(_finding(engine, minute) for _ in range(ROUNDS))
        told = [f"{seconds:.2f} s" for seconds in (whole, worked, finding, first)]
        table.add_row(name, f"{100 * wrong:.1f} %", *told)
    console.print(table)


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"[a-z']+", text.lower())


def error_rate(said: list[str], heard: list[str]) -> float:
    """The least number of words to change, add or leave out, for each word that was said."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return row[-1] / len(said)


def encoded(sound: Audio) -> bytes:
    """A WAV file."""
    file = io.BytesIO()
    soundfile.write(file, sound.samples, sound.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _read_aloud() -> Audio:
    package: Any = import_module("moonshine_voice")
    samples, rate = soundfile.read(Path(package.get_assets_path()) / "two_cities.wav", dtype="float32", always_2d=True)
    return resample(Audio(samples.mean(axis=1), rate), RATE)


def _spoken() -> Audio:
    voice = create_engine(settings.load(ROOT / "serve_config.yaml", {}).models["voice"])
    assert isinstance(voice, SpeechEngine)
    voice.load()
    return resample(voice.speak(SpeechJob(SPOKEN)), RATE)


def _as_long_as(sound: Audio, seconds: int) -> Audio:
    return Audio(np.resize(sound.samples, seconds * RATE), RATE)


def _text(engine: TranscriptionEngine, recording: bytes) -> str:
    pieces = engine.transcribe(TranscriptionJob(recording))
    return " ".join(segment.text for piece in pieces for segment in piece.segments)


def _times(engine: TranscriptionEngine, recording: bytes) -> tuple[float, float, float]:
    """Seconds until the end, those of the processor's in it, and until the first passage."""
    begun, worked = time.perf_counter(), time.process_time()
    first = 0.0
    for piece in engine.stream(TranscriptionJob(recording)):
        if piece.segments and not first:
            first = time.perf_counter() - begun
    return time.perf_counter() - begun, time.process_time() - worked, first


def _finding(engine: TranscriptionEngine, recording: bytes) -> float:
    """Of the processor's."""
    begun = time.process_time()
    detection = TranscriptionJob(b"").detection
    list(windows(read_blocks(recording), engine.joined_seconds, engine.longest_seconds, detection))
    return time.process_time() - begun


if __name__ == "__main__":
    main()
