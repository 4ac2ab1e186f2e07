"""What the built-in vision-language model gets right, asked as the server asks: chat template and greedy answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from training.captions import COLOUR_NOUNS, LANGUAGES, SHAPE_NOUNS, Language
from training.evaluate import MODELS, Row, fresh_scenes
from training.questions import Exchange, Kind, ask, ask_two, changed, talk
from training.world import Scene, render

_BATCH: Final = 32
_FAR_BEHIND: Final = 0.03
"""So much less than in English may be right in the other languages."""
_LANGUAGE_NAMES: Final[dict[Language, str]] = {"en": "English", "ko": "Korean", "ja": "Japanese"}
_ENGLISH: Final[tuple[tuple[Kind, str, float | None, int], ...]] = (
    ("colour", "colour", 0.99, 500),
    ("shape", "shape", 0.97, 500),
    ("background", "background colour", None, 200),
    ("count", "count", 0.95, 200),
    ("count named", "count by shape or colour", None, 200),
    ("place", "place", 0.95, 200),
    ("what", "what is at a place: size, colour and shape", None, 200),
    ("size", "size", None, 200),
    ("yes/no", "yes/no", 0.97, 300),
    ("objects", "list of objects", None, 100),
    ("describe", "description, every word of it", None, 100),
    ("detail", "detailed description, every word of it", None, 60),
)
"""Kind, how the table names it, the bar, how many questions."""


@dataclass(frozen=True)
class Case:
    """Pictures, what is asked about them and the right answer."""

    pictures: tuple[Image.Image, ...]
    said: Exchange
    text_first: bool = False


class Asked:
    """A checkpoint folder, loaded as any engine loads it."""

    def __init__(self, folder: Path, dtype: Any = "auto") -> None:
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()

    def answers(self, cases: Sequence[Case]) -> list[str]:
        """Greedy answers, in order."""
        said: list[str] = []
        for start in range(0, len(cases), _BATCH):
            said += self._batch(cases[start : start + _BATCH])
        return said

    @torch.inference_mode()
    def _batch(self, cases: Sequence[Case]) -> list[str]:
        conversations = []
        for case in cases:
            parts: list[dict[str, Any]] = [{"type": "image", "image": p} for p in case.pictures]
            text = {"type": "text", "text": case.said.question}
            parts = [text, *parts] if case.text_first else [*parts, text]
            conversations.append([{"role": "user", "content": parts}])
        inputs = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        written = self.model.generate(**inputs, max_new_tokens=160, do_sample=False)
        texts: list[str] = self.processor.batch_decode(
            written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return texts


def about_one(
    kind: Kind, count: int, language: Language = "en", *, word: float = 0.2, text_first: bool = False
) -> list[Case]:
    """So many questions of a kind about new scenes."""
    cases: list[Case] = []
    for i, scene in enumerate(fresh_scenes(2 * count, word=word)):
        said = ask(scene, np.random.default_rng((901_000_000, i)), language, kind)
        if said is not None and len(cases) < count:
            cases.append(Case((render(scene),), said, text_first))
    return cases


def about_two(kind: Kind, count: int, language: Language = "en") -> list[Case]:
    """So many questions of a kind about pairs of new scenes, half of them nearly alike."""
    scenes = fresh_scenes(2 * count, offset=50_000)
    cases = []
    for i in range(count):
        rng = np.random.default_rng((902_000_000, i))
        first = scenes[2 * i]
        second: Scene = changed(first, rng) if i % 2 else scenes[2 * i + 1]
        cases.append(Case((render(first), render(second)), ask_two(first, second, rng, language, kind)))
    return cases


def is_right(said: Exchange, answer: str) -> bool:
    """The very answer, give or take case and a full stop; a colour or shape may come in a phrase ("a red circle")."""
    right, given = (_bare(t) for t in (said.answer, answer))
    if given == right:
        return True
    if said.kind not in ("colour", "background", "shape") or right not in given:
        return False
    table = SHAPE_NOUNS[said.language].values() if said.kind == "shape" else COLOUR_NOUNS[said.language].values()
    others = [words[0] for words in table if words[0] != said.answer]
    return not any(o.lower() in given and o.lower() not in right for o in others)


def _bare(text: str) -> str:
    return text.strip().lower().rstrip(".。")


def share_right(asked: Asked, cases: Sequence[Case]) -> float:
    """The fraction of right answers."""
    answers = asked.answers(cases)
    return sum(is_right(c.said, a) for c, a in zip(cases, answers, strict=True)) / len(cases)


def evaluate(folder: Path = MODELS / "vlm") -> list[Row]:
    """Every measure of the model card."""
    asked = Asked(folder)
    rows: list[Row] = []

    def measure(name: str, cases: Sequence[Case], bar: float | None = None) -> None:
        rows.append(Row("vlm", name, share_right(asked, cases), bar, len(cases)))

    for kind, name, bar, count in _ENGLISH:
        measure(f"{name} (English)", about_one(kind, count), bar)
    measure("colour, question before picture (English)", about_one("colour", 150, text_first=True))
    for language in LANGUAGES[1:]:
        for kind, count in (("colour", 200), ("shape", 200), ("count", 100), ("place", 100), ("yes/no", 150)):
            in_english = next(row.value for row in rows if row.measure == f"{kind} (English)")
            bar = round(in_english - _FAR_BEHIND, 4)
            measure(f"{kind} ({_LANGUAGE_NAMES[language]})", about_one(kind, count, language), bar)
    measure("words read", about_one("text", 200, word=1.0), 0.9)
    measure("no text where there is none", about_one("text", 100, word=0.0))
    measure("two pictures: which one", about_two("which", 150), 0.9)
    measure("two pictures: the same?", about_two("same", 150), 0.9)
    measure("two pictures: the difference, every word of it", about_two("difference", 100))
    measure("no picture: says so", [Case((), talk(np.random.default_rng((903_000_000, i)))) for i in range(60)])
    return rows
