"""How often the MLX engine answers as the transformers engine does: the built-in model, greedy, in float32 on a CPU.

python -m bench.parity [QUESTIONS]
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

from models.catalog import create_engine
from models.chat.engine import ChatEngine
from models.entry import ModelEntry
from models.pictures import encode
from models.tasks import ChatJob, ImagePart, Message, TextPart
from training.captions import LANGUAGES
from training.questions import KINDS, ask, ask_two, changed, talk
from training.world import random_scene, render

_ABOUT_TWO = ("same", "difference", "which", "both", "one of two")


def questions(count: int) -> list[tuple[str, ChatJob]]:
    """Kind and job of so many questions, each kind and language in turn; every fourth puts the words first."""
    asked: list[tuple[str, ChatJob]] = []
    number = 0
    while len(asked) < count:
        number += 1
        rng = np.random.default_rng((904_000_000, number))
        kind, language = KINDS[number % len(KINDS)], LANGUAGES[number // len(KINDS) % len(LANGUAGES)]
        first = random_scene(rng)
        scenes = [first]
        if kind in _ABOUT_TWO:
            scenes.append(changed(first, rng) if number % 2 else random_scene(rng))
            said = ask_two(scenes[0], scenes[1], rng, language, kind)
        elif kind == "talk":
            scenes, said = [], talk(rng, language)
        else:
            found = ask(first, rng, language, kind)
            if found is None:
                continue
            said = found
        parts: list[TextPart | ImagePart] = [ImagePart(encode(render(scene))) for scene in scenes]
        parts.insert(0 if number % 4 == 0 else len(parts), TextPart(said.question))
        asked.append((kind, ChatJob((Message("user", tuple(parts)),), max_tokens=160)))
    return asked


def agreement(one: ChatEngine, other: ChatEngine, job: ChatJob) -> bool:
    """Whether both give the same answer, with the same end and the same counts of tokens."""
    answers = []
    for engine in (one, other):
        deltas = list(engine.stream(job, lambda: False))
        answers.append(("".join(delta.text for delta in deltas), deltas[-1].finish_reason, deltas[-1].usage))
    return answers[0] == answers[1]


def _loaded(name: str) -> ChatEngine:
    engine = create_engine(ModelEntry.model_validate({"engine": name, "checkpoint": "builtin:vlm", "device": "cpu"}))
    assert isinstance(engine, ChatEngine)
    engine.load()
    return engine


def main(count: int) -> None:
    """Print the share of equal answers by kind."""
    engines = _loaded("vlm"), _loaded("vlm_mlx")
    asked, same = Counter[str](), Counter[str]()
    for kind, job in questions(count):
        asked[kind] += 1
        same[kind] += agreement(*engines, job)
    print("| question | asked | same answer |\n|---|---:|---:|")
    for kind in KINDS:
        print(f"| {kind} | {asked[kind]} | {same[kind] / max(1, asked[kind]):.1%} |")
    print(f"| all | {asked.total()} | {same.total() / asked.total():.1%} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
