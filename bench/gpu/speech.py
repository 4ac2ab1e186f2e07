"""Qwen3-TTS: how much faster than real time, and how soon the first sound comes, beside bare qwen-tts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import settings
from bench.gpu.checkpoints import drawn, size_of
from bench.gpu.pictures import CARD_GB
from bench.gpu.work import GB, Work
from bench.overhead import ROOT, seconds, tone
from models.catalog import create_engine
from models.entry import ModelEntry
from models.quantizers import leave_out_unused
from models.tasks import SpeechJob

TEXT: Final = "Good morning to you all. The boat leaves the harbour at nine, and it will be back before the evening."
_REAL_TIME: Final = 3.3
_FIRST_SOUND: Final = 0.25


def run(work: Work) -> None:
    """Measure."""
    leave_out_unused((), ("scipy",))
    folder = work.folder / "speech"
    took = work.attempt("write", lambda: seconds(lambda: write(folder, tiny=work.tiny, device=work.device)))
    if took is None:
        return
    work.figure("checkpoint on disk", size_of(folder) / GB, "GB")
    bare = work.attempt("bare", lambda: _bare(work, folder))
    work.attempt("engine", lambda: _engine(work, folder, bare))


def write(folder: Path, *, tiny: bool, device: str) -> None:
    """Qwen3-TTS with random weights; sentences that do not end by themselves."""
    from tests.checkpoints.speech_qwen import RELEASED, TINY, write_qwen_tts

    if tiny:
        write_qwen_tts(folder, TINY)
    else:
        drawn(lambda: write_qwen_tts(folder, RELEASED), device)


def entry_of(folder: Path, *, tiny: bool) -> ModelEntry:
    """The voice of serve_config.gpu.yaml with the checkpoint in `folder`."""
    said = settings.load(ROOT / "serve_config.gpu.yaml", {}).models["voice"].model_dump() | {"checkpoint": str(folder)}
    return ModelEntry.model_validate(said | ({"device": "cpu", "threads": 1} if tiny else {}))


def _text(tiny: bool) -> str:
    return "Hi." if tiny else TEXT


def _engine(work: Work, folder: Path, bare: float | None) -> None:
    entry = entry_of(folder, tiny=work.tiny)
    engine: Any = create_engine(entry)
    work.forget_peak()
    if work.load("as configured", engine) is None:
        return
    job = SpeechJob(_text(work.tiny), "en", reference=tone(seconds=3))
    spoken = engine.speak(job).seconds
    took = work.seconds(lambda: engine.speak(job))
    work.figure("sound", spoken / took, "s a second", beside=bare, target=_REAL_TIME, at_least=True)
    work.figure("first sound", work.seconds(lambda: next(engine.stream(job))), "s", target=_FIRST_SOUND)
    work.say_peak("as configured", entry.gpus * CARD_GB)
    engine.unload()


def _bare(work: Work, folder: Path) -> float:
    """Seconds of sound a second by qwen-tts alone."""
    import torch

    from models.speech.audio import read_voice
    from models.speech.engines.qwen_tts import import_qwen_tts
    from models.speech.qwen3_tts import SAMPLING

    dtype = torch.float32 if work.tiny else torch.bfloat16
    model = import_qwen_tts().Qwen3TTSModel.from_pretrained(str(folder), device_map=work.device, dtype=dtype)
    voice = read_voice(tone(seconds=3), "reference")
    prompt = model.create_voice_clone_prompt((voice.samples, voice.rate), None, x_vector_only_mode=True)
    spoken: list[float] = []

    def speak() -> None:
        frames = 12 if work.tiny else 75
        (samples,), rate = model.generate_voice_clone(
            _text(work.tiny), "english", voice_clone_prompt=prompt, max_new_tokens=frames, do_sample=True, **SAMPLING
        )
        spoken.append(len(samples) / rate)

    took = work.seconds(speak)
    return spoken[-1] / took
