"""How much a voice is like the person in its recording, as another network hears it: `python -m bench.likeness`.

The network is Resemblyzer's speaker encoder (Apache 2.0, GE2E), whose weights come in its wheel; only these are needed:
`uv pip install --python .venv/bin/python --no-deps resemblyzer`. The people are those whose recordings come with
Moonshine's wheel. A likeness is the cosine of two mean embeddings: some 0.9 for two passages by one person.
"""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from models.audio import resample
from models.catalog import create_engine
from models.entry import ModelEntry
from models.speech.engine import SpeechEngine
from models.speech.sound import trimmed
from models.tasks import Audio, SpeechJob

PEOPLE: Final = ("two_cities", "beckett", "clone-test")
TEXT: Final = (
    "The old man walked slowly down to the river with a small red bag. "
    "Please call Stella and ask her to bring these things with her from the store."
)
_RATE, _BANDS, _FRAMES = 16_000, 40, 160
_SECONDS: Final = 15


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over mel frames (GE2E, arXiv 1710.10467)."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        kept = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({name: kept[name] for name in self.state_dict()})
        self._filters = mel_filter_bank(201, _BANDS, 0, _RATE / 2, _RATE, norm="slaney", mel_scale="slaney")

    @torch.inference_mode()
    def embed(self, audio: Audio) -> np.ndarray:
        """The mean embedding of its windows of 1.6 s: float32 [256], of length 1."""
        samples = resample(trimmed(audio), _RATE).samples.astype(np.float64)
        samples *= 10 ** (-30 / 20) / np.sqrt(np.square(samples).mean())
        window = window_function(400, "hann")
        mels = spectrogram(samples, window, 400, _RATE // 100, fft_length=400, power=2.0, mel_filters=self._filters).T
        starts = range(0, max(1, len(mels) - _FRAMES + 1), _FRAMES // 2)
        pieces = [torch.from_numpy(mels[start : start + _FRAMES].astype(np.float32)) for start in starts]
        hidden = torch.cat([self.lstm(piece[None])[1][0][-1] for piece in pieces])
        embedded = nn.functional.normalize(torch.relu(self.linear(hidden)), dim=1).mean(0)
        return nn.functional.normalize(embedded, dim=0).numpy()


def main() -> None:
    """Print the table."""
    found, heard = find_spec("resemblyzer"), find_spec("moonshine_voice")
    if found is None or found.origin is None or heard is None or heard.origin is None:
        sys.exit(f"bench.likeness: {__doc__.splitlines()[2]} {__doc__.splitlines()[3]}")
    encoder = SpeakerEncoder(Path(found.origin).with_name("pretrained.pt"))
    folder = Path(heard.origin).parent / "assets"
    people = {name: _beginning(folder / f"{name}.wav") for name in PEOPLE}
    engines = {name: _loaded(name) for name in ("espeak", "kokoro_onnx")}
    print("| person | the same person, later | the most alike of the others | " + " | ".join(engines) + " |")
    print("|---|---:|---:|" + "---:|" * len(engines))
    embedded = {name: encoder.embed(audio) for name, audio in people.items()}
    alike = {frozenset(pair): float(embedded[pair[0]] @ embedded[pair[1]]) for pair in combinations(people, 2)}
    for name, audio in people.items():
        half = len(audio.samples) // 2
        halves = [encoder.embed(Audio(part, audio.rate)) for part in (audio.samples[:half], audio.samples[half:])]
        cells = [float(halves[0] @ halves[1]), max(likeness for pair, likeness in alike.items() if name in pair)]
        for engine in engines.values():
            spoken = engine.speak(SpeechJob(TEXT, reference=_wav(audio)))
            cells.append(float(encoder.embed(spoken) @ embedded[name]))
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def _beginning(path: Path) -> Audio:
    samples, rate = soundfile.read(path, dtype="float32")
    return Audio(samples[: _SECONDS * rate], rate)


def _wav(audio: Audio) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.samples, audio.rate, format="WAV")
    return buffer.getvalue()


def _loaded(name: str) -> SpeechEngine[Any]:
    engine = create_engine(ModelEntry.model_validate({"engine": name, "checkpoint": "builtin:voice"}))
    assert isinstance(engine, SpeechEngine)
    engine.load()
    return engine


if __name__ == "__main__":
    main()
