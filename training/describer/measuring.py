"""What the describer gets right: scenes in designs and letterings that it never saw, and real photographs.

    python -m training.describer.measuring [FOLDER]

Greedy answers in the chat template, as the server asks; the whole answer has to be right.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from models.describer import kinds, open_describer
from training.art.designs import designs_for
from training.art.shelf import are_rendered
from training.captions import LANGUAGES, Language
from training.composer.scene import Mix, Scene, random_scene
from training.describer.photographs import Photographs
from training.describer.pool import world
from training.describer.questions import Asked, ask, ask_two
from training.describer.structured import structured
from training.embedder.lexicon import Lexicon
from training.embedder.photographs import Photograph, photographs
from training.evaluate import MODELS, Row, as_table
from training.wordnet import WordNet
from training.world import random_scene as random_shapes
from training.world import render

MODEL: Final = MODELS / "describer"
_SEED: Final = 904_000_000
_BATCH: Final = 32
_ONE: Final = Mix(figures=(0.0, 1.0, 0.0, 0.0), painted=0.5, word=0.0)
_ANY: Final = Mix(figures=(0.05, 0.5, 0.3, 0.15), painted=0.5, word=0.15, same=0.3)
_WRITTEN: Final = Mix(figures=(0.4, 0.6, 0.0, 0.0), painted=0.4, word=1.0)
_BARS: Final[dict[str, tuple[str, Mix, float | None, int]]] = {
    "count": ("how many", _ANY, 0.97, 150),
    "count named": ("how many of a thing", _ANY, None, 150),
    "where": ("place", _ANY, 0.97, 150),
    "ground": ("ground", _ANY, 0.97, 150),
    "yes/no": ("yes or no", _ANY, 0.95, 300),
    "text": ("words read", _WRITTEN, 0.92, 200),
    "colour": ("colour", _ANY, None, 100),
    "describe": ("every word of a description", _ANY, None, 100),
    "beyond": ("says that it does not know", _ANY, None, 60),
}
_IN_ALL_LANGUAGES: Final = ("what", "count", "where", "yes/no")
_FAR_BEHIND: Final = 0.02
_PHOTOGRAPH: Final[dict[Language, str]] = {
    "en": "What object is this?",
    "ko": "이건 무슨 물건이야?",
    "ja": "これの名前は何ですか?",
}
"""They ask for a name; "What is this?" asks for a sentence."""


@dataclass(frozen=True)
class Case:
    """Pictures, what is asked about them and the right answer."""

    pictures: tuple[Image.Image, ...]
    said: Asked


class Describer:
    """A folder, loaded as the server loads it."""

    def __init__(self, folder: Path) -> None:
        self.model, self.processor = open_describer(folder, torch.float32)

    def answers(self, cases: list[Case], begun: list[str] | None = None, longest: int = 100) -> list[str]:
        """Greedy answers; `begun`: their beginnings, which are not part of what comes back."""
        told: list[str] = []
        for start in range(0, len(cases), _BATCH):
            part = slice(start, start + _BATCH)
            told += self._batch(cases[part], begun[part] if begun else [], longest)
        return told

    @torch.inference_mode()
    def _batch(self, cases: list[Case], begun: list[str], longest: int) -> list[str]:
        texts = []
        for i, case in enumerate(cases):
            parts: list[dict[str, Any]] = [{"type": "image"} for _ in case.pictures]
            turn = {"role": "user", "content": [*parts, {"type": "text", "text": case.said.question}]}
            text = self.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
            texts.append(text + (begun[i] if begun else ""))
        pictures = [picture for case in cases for picture in case.pictures]
        inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        written = self.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        found: list[str] = self.processor.batch_decode(
            written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return found


def _scenes(count: int, mix: Mix, offset: int, design: str | None = None) -> list[Scene]:
    stock = world(unseen=True)[0]
    if design:
        stock = replace(stock, shares={design: 1.0})
    return [random_scene(np.random.default_rng((_SEED, offset, i)), stock, mix) for i in range(count)]


def _drawn(scene: Scene) -> Image.Image:
    return Image.fromarray(world(unseen=True)[1].compose(scene))


def about_one(kind: str, mix: Mix, count: int, language: Language, design: str | None = None) -> list[Case]:
    """So many questions of a kind, about drawings of one design if it is given."""
    cases: list[Case] = []
    for i, scene in enumerate(_scenes(6 * count, mix, 1, design)):
        said = ask(scene, np.random.default_rng((_SEED, 2, i)), language, kind)
        if said is not None and len(cases) < count:
            cases.append(Case((_drawn(scene),), said))
    return cases


def _bare(text: str) -> str:
    return text.strip().lower().rstrip(".。")


def _share(right: list[bool]) -> float:
    return sum(right) / len(right)


def _json_right(describer: Describer, count: int) -> float:
    """The share of values that are right where the keys are given, as a schema gives them."""
    cases, begun, wanted = [], [], []
    for i, scene in enumerate(_scenes(count, _ANY, 3)):
        rng = np.random.default_rng((_SEED, 4, i))
        said = structured(scene, rng, LANGUAGES[i % 3])
        told = json.loads(said.answer)
        key = list(told)[int(rng.integers(len(told)))]
        before = json.dumps({k: v for k, v in told.items() if k != key and list(told).index(k) < list(told).index(key)},
                            ensure_ascii=False).rstrip("}")  # fmt: skip
        begun.append(f"{before}{', ' if before != '{' else ''}{json.dumps(key)}:")
        wanted.append(" " + json.dumps(told[key], ensure_ascii=False))
        cases.append(Case((_drawn(scene),), said))
    answers = describer.answers(cases, begun)
    return _share([a.startswith(w) and a[len(w) :][:1] in (",", "}") for a, w in zip(answers, wanted, strict=True)])


def _photographed(describer: Describer, taken: list[Photograph], named: Photographs) -> list[Row]:
    """A name is right that classes below the photograph's noun have, or that noun itself, or a thing that all are."""
    rows = []
    for language in LANGUAGES:
        chosen = [
            each
            for each in taken
            if language == "en" or any(named.names[language][c] != named.names["en"][c] for c in each.classes)
        ]
        cases = [
            Case((_on_white(each.picture()),), Asked("what", language, _PHOTOGRAPH[language], "")) for each in chosen
        ]
        right = []
        for each, answer in zip(chosen, describer.answers(cases, longest=24), strict=True):
            said = _bare(answer).removeprefix("a ").removeprefix("an ")
            names = {named.names[language][c].lower() for c in each.classes} | {each.noun}
            above = named.held[:, list(each.classes)].all(1).nonzero().flatten().tolist()
            names |= {named.things[language][thing] for thing in above}
            right.append(said in names)
        rows.append(Row("describer", f"photograph: what it is, {language}", _share(right), None, len(right)))
    return rows


def _on_white(picture: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def missing_command() -> str | None:
    """The command that makes what it is measured with, where that is not there."""
    return None if are_rendered(designs_for("judge")) else "python -m training.art"


def evaluate(folder: Path = MODEL, *, quick: bool = False) -> list[Row]:
    """Every measure of the model card; `quick`: a fifth of the cases."""
    describer, rows = Describer(folder), []

    def measured(kind: str, name: str, mix: Mix, bar: float | None, count: int, design: str | None = None) -> None:
        english = 0.0
        for language in LANGUAGES if kind in _IN_ALL_LANGUAGES else LANGUAGES[:1]:
            some = max(20, count // (5 if quick else 1 if language == "en" else 2))
            cases = about_one(kind, mix, some, language, design)
            value = _share(
                [_bare(a) == _bare(c.said.answer) for a, c in zip(describer.answers(cases), cases, strict=True)]
            )
            english = value if language == "en" else english
            wanted = bar if language == "en" or bar is None else round(min(bar, english) - _FAR_BEHIND, 3)
            rows.append(Row("describer", f"{name}, {language}", value, wanted, len(cases)))

    for design in designs_for("judge"):
        measured("what", f"the name of a thing in {design}", _ONE, 0.8, 400, design)
    for kind, (name, mix, bar, count) in _BARS.items():
        measured(kind, name, mix, bar, count)
    pairs = _scenes(200, _ONE, 5)
    said = [ask_two(pairs[i], pairs[i + 1], np.random.default_rng((_SEED, 6, i)), "en") for i in range(0, 200, 2)]
    cases = [
        Case((_drawn(pairs[2 * i]), _drawn(pairs[2 * i + 1])), each)
        for i, each in enumerate(said)
        if each.kind != "both"
    ]
    answers = describer.answers(cases)
    value = _share([_bare(a) == _bare(c.said.answer) for a, c in zip(answers, cases, strict=True)])
    rows.append(Row("describer", "two pictures: which, more, the same", value, None, len(cases)))
    rows.append(
        Row("describer", "a value of JSON", _json_right(describer, 60 if quick else 200), 0.9, 60 if quick else 200)
    )
    wordnet = WordNet()
    taken = photographs(wordnet)
    rows += _photographed(describer, taken, Photographs.of(describer.model.model.visual.trunk, Lexicon.read(wordnet)))
    rows += _gate(describer, [_on_white(each.picture()) for each in taken])
    return rows


def _gate(describer: Describer, taken: list[Image.Image]) -> list[Row]:
    shapes = [render(random_shapes(np.random.default_rng((_SEED, 7, i)), word=0.2)) for i in range(200)]
    drawn = [_drawn(scene) for scene in _scenes(200, _ANY, 8)]
    rows = []
    for kind, (name, pictures) in enumerate((("shapes", shapes), ("drawings", drawn), ("photographs", taken))):
        found = kinds(describer.model, pictures)
        rows.append(Row("describer", f"gate: {name}", _share([each == kind for each in found]), None, len(found)))
    return rows


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(as_table(evaluate(Path(sys.argv[1]) if sys.argv[1:] else MODEL)))
