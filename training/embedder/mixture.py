"""Put the embedder beside the CLIP of shapes: `python -m training.embedder.mixture`, after the embedder itself.

A gate learns to say of a text, from what both text towers make of it, whether it is about the world of shapes: from
captions and queries of that world against phrases and prompts of the other. What comes out is the folder
that `models/embedding/engines/clip_mixture.py` loads: matrices in 8 bits, and no picture tower, which is in a wheel.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from training.captions import LANGUAGES, full_caption
from training.composer.prompts import prompt
from training.composer.scene import Mix
from training.composer.scene import random_scene as random_things
from training.eight_bits import packed
from training.embedder.lexicon import Lexicon, phrase
from training.evaluate import MODELS
from training.loop import RUNS
from training.picture.world import drawn_world
from training.queries import query
from training.wordnet import WordNet
from training.world import random_scene

FOLDER: Final = RUNS / "embedder" / "model"
_SEED: Final = 85
_COLOURS: Final = {
    "en": ("red ", "blue ", "green ", "yellow ", "purple ", "orange ", "black ", "white "),
    "ko": ("빨간 ", "파란 ", "초록색 ", "노란 ", "보라색 ", "주황색 ", "검은 ", "흰 "),
    "ja": ("赤い", "青い", "緑の", "黄色い", "紫の", "オレンジの", "黒い", "白い"),
}
_HIDDEN: Final = 64
_DOUBT: Final = 2.0
"""In doubt a text is about things: what is wrongly taken for a shape finds nothing at all."""


def texts_of_shapes(count: int, rng: np.random.Generator) -> list[str]:
    """What people say of scenes in the world of shapes, and ask for them with."""
    said = []
    for number in range(count):
        scene, language = random_scene(rng), LANGUAGES[number % len(LANGUAGES)]
        said.append(query(scene, rng, language)[0] if number % 2 else full_caption(scene, rng, language))
    return said


def texts_of_things(count: int, rng: np.random.Generator, lexicon: Lexicon) -> list[str]:
    """Phrases and prompts about everything else; some things have a colour, as shapes do."""
    stock = drawn_world().stock
    said: list[str] = []
    while len(said) < count:
        noun, language = lexicon.nouns[int(rng.integers(len(lexicon.nouns)))], LANGUAGES[len(said) % len(LANGUAGES)]
        kind = rng.random()
        if kind < 0.4:
            said.append(phrase(noun, rng))
        elif kind < 0.8 and (words := noun.words.get(language)):
            article = "a " if language == "en" and rng.random() < 0.5 else ""
            colour = _COLOURS[language][int(rng.integers(8))] if kind < 0.6 else ""
            said.append(article + colour + words[int(rng.integers(len(words)))])
        else:
            scene = random_things(rng, stock, Mix(figures=(0.1, 0.6, 0.3, 0)))
            if not any(figure.is_shape for figure in scene.figures):
                said.append(prompt(scene, rng, language))
    return said


def names_of_things(lexicon: Lexicon) -> list[str]:
    """Every name of every thing in every language, which people search with most."""
    return [word for noun in lexicon.nouns for words in noun.words.values() for word in words]


class Readers:
    """The text towers of both folders; what the gate sees is what they make of a text, one after the other."""

    def __init__(self, *folders: Path) -> None:
        self._read: list[tuple[Any, Any]] = []
        for folder in folders:
            clip: Any = open_clip.create_model_and_transforms(f"local-dir:{folder}")[0]
            self._read.append((clip.eval(), open_clip.get_tokenizer(f"local-dir:{folder}")))

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Two vectors of length 1 side by side, float32 [n, both widths]."""
        parts = []
        for first in range(0, len(texts), 200):
            batch = texts[first : first + 200]
            parts.append(torch.cat([clip.encode_text(tokens(batch), normalize=True) for clip, tokens in self._read], 1))
        return torch.cat(parts).float()


def learn_gate(shapes: torch.Tensor, things: torch.Tensor, steps: int = 6000) -> nn.Sequential:
    """Above 0 for what is about shapes."""
    seen = torch.cat([shapes, things])
    wanted = torch.cat([torch.ones(len(shapes)), torch.zeros(len(things))])
    last = nn.Linear(_HIDDEN, 1)
    gate = nn.Sequential(nn.Linear(seen.shape[1], _HIDDEN), nn.ReLU(), last)
    search = torch.optim.AdamW(gate.parameters(), lr=3e-3, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    for _ in range(steps):
        rows = torch.randint(len(seen), (512,))
        loss = functional.binary_cross_entropy_with_logits(gate(seen[rows])[:, 0], wanted[rows])
        search.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        search.step()
        falling.step()
    with torch.no_grad():
        last.bias.sub_(_DOUBT)
    return gate


def write_mixture(gate: nn.Module, source: Path, out: Path) -> None:
    """The folder that serves, from that of open_clip."""
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "open_clip_model.safetensors")
    own = {name: weight for name, weight in weights.items() if not name.startswith("visual.trunk.")}
    kept = packed({**own, **{f"gate.{name}": weight.detach() for name, weight in gate.named_parameters()}})
    save_file(kept, out / "mixture.safetensors", metadata={"format": "pt"})
    described = json.loads((source / "open_clip_config.json").read_text("utf-8"))
    (out / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, out / name)


def main() -> None:
    """Learn the gate, say how often it is right on texts that it has not seen, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=12_000, help="of each world")
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=MODELS / "finder")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(_SEED)
    rng, readers = np.random.default_rng(_SEED), Readers(given.model, MODELS / "clip")
    shapes = readers(texts_of_shapes(given.texts, rng))
    lexicon = Lexicon.read(WordNet())
    things, names = readers(texts_of_things(given.texts, rng, lexicon)), readers(names_of_things(lexicon))
    test = given.texts // 10
    gate = learn_gate(shapes[test:], torch.cat([things[test:], names]))
    with torch.no_grad():
        right = float((gate(shapes[:test]) > 0).float().mean()), float((gate(things[:test]) <= 0).float().mean())
        named = float((gate(names) <= 0).float().mean())
    print(f"of {test} fresh texts each: {right[0]:.1%} about shapes and {right[1]:.1%} about things are known as such")
    print(f"and {named:.2%} of the {len(names)} names that it has learnt")
    write_mixture(gate, given.model, given.out)


if __name__ == "__main__":
    main()
