"""Conversations about scenes and photographs, for rows of `training.conversations`."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isqrt
from typing import Final

import numpy as np
import torch

from models.sight import TOKENS
from training import wordings
from training.captions import LANGUAGES, Language
from training.composer.scene import Scene
from training.conversations import UNTOLD, Conversation, Encode
from training.describer import words
from training.describer.labels import numbers
from training.describer.photographs import Photographs
from training.describer.questions import Asked, ask, ask_two
from training.describer.structured import structured
from training.questions import talk

ROW: Final = 256
SIDE: Final = isqrt(TOKENS)
"""Tokens a side of a picture."""
_LANGUAGE_SHARES: Final = (0.46, 0.27, 0.27)
_JSON: Final = 0.12
_SCENES: Final = 1 << 40
"""More than are ever drawn: hardly any is seen twice."""
_SAME: Final = 0.12
"""A pair of the same picture is worth a question now and then."""


def language_of(rng: np.random.Generator) -> Language:
    """Any, English most often."""
    return LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]


class Talks:
    """Draws the conversations of a batch, and which pictures they are about."""

    def __init__(
        self, encode: Encode, image_token: int, scene_of: Callable[[int], Scene], photographs: Photographs
    ) -> None:
        self._encode = encode
        self._image_token = image_token
        self._scene_of = scene_of
        self._photographs = photographs

    def draw(
        self, singles: int, pairs: int, taken: int, rng: np.random.Generator
    ) -> tuple[list[Scene], torch.Tensor, list[Conversation]]:
        """Conversations about `singles` scenes, `pairs` of two and `taken` photographs.

        Returns:
            The scenes, in the order of the pictures; then those photographs' guesses [taken, 1000], whose pictures come
            after the scenes; and the conversations.
        """
        scenes = [self._scene_of(int(number)) for number in rng.integers(_SCENES, size=singles + 2 * pairs)]
        for first in range(singles, len(scenes), 2):
            if rng.random() < _SAME:
                scenes[first + 1] = scenes[first]
        guesses = self._photographs.guesses(self._photographs.draw(taken, rng)[0])
        said = [self._about_one(scenes[i], i, rng) for i in range(singles)]
        said += [self._about_two(scenes, singles + 2 * i, rng) for i in range(pairs)]
        said += [self._about_photograph(guesses[i], len(scenes) + i, rng) for i in range(taken)]
        said += [self._about_none(rng) for _ in range(max(1, singles // 5))]
        return scenes, guesses, said

    def _begun(self, rng: np.random.Generator) -> Conversation:
        conversation = Conversation(self._encode, self._image_token, side=SIDE)
        conversation.begin()
        if rng.random() < 0.15:
            system = wordings.SYSTEM[int(rng.integers(len(wordings.SYSTEM)))]
            conversation.say(f"<|im_start|>system\n{system}<|im_end|>\n")
        conversation.say("<|im_start|>user\n")
        return conversation

    def _about_one(self, scene: Scene, picture: int, rng: np.random.Generator) -> Conversation:
        def asked() -> Asked:
            if rng.random() < _JSON:
                return structured(scene, rng, language_of(rng))
            said = None
            while said is None:
                said = ask(scene, rng, language_of(rng))
            return said

        if rng.random() < 0.12:
            return self._asked_first(asked(), picture, rng)
        conversation = self._begun(rng)
        conversation.show(picture)
        self._branches(conversation, [asked() for _ in range(int(rng.integers(6, 11)))], rng)
        return conversation

    def _about_two(self, scenes: list[Scene], first: int, rng: np.random.Generator) -> Conversation:
        one, other = scenes[first : first + 2]
        conversation = self._begun(rng)
        conversation.show(first)
        conversation.show(first + 1)
        self._branches(conversation, [ask_two(one, other, rng, language_of(rng)) for _ in range(6)], rng)
        return conversation

    def _about_photograph(self, guesses: torch.Tensor, picture: int, rng: np.random.Generator) -> Conversation:
        asked = [self._photographs.ask(guesses, rng, language_of(rng)) for _ in range(int(rng.integers(5, 9)))]
        if rng.random() < 0.12:
            return self._asked_first(asked[0], picture, rng)
        conversation = self._begun(rng)
        conversation.show(picture)
        self._branches(conversation, asked, rng)
        return conversation

    def _about_none(self, rng: np.random.Generator) -> Conversation:
        """Words without a picture."""
        conversation, language = self._begun(rng), language_of(rng)
        said = talk(rng, language)
        is_about_itself = said.answer == wordings.NOT_TALK[language]
        answer = words.ABOUT_ITSELF[language] if is_about_itself else said.answer
        _exchange(conversation, Asked("talk", language, said.question, answer))
        return conversation

    def _branches(self, conversation: Conversation, asked: list[Asked], rng: np.random.Generator) -> None:
        parent = 0
        for said in asked:
            number = conversation.begin(parent)
            if parent > 0:
                conversation.say("\n<|im_start|>user\n")
            _exchange(conversation, said)
            if len(conversation) > ROW:
                del conversation.segments[number:]
                return
            # The next question may come after this answer instead of beside it.
            parent = number if rng.random() < 0.1 else 0

    def _asked_first(self, said: Asked, picture: int, rng: np.random.Generator) -> Conversation:
        """A question that stands before the picture, as OpenAI's examples have it."""
        conversation = self._begun(rng)
        conversation.say(said.question)
        conversation.show(picture)
        _answer(conversation, said)
        return conversation


def _exchange(conversation: Conversation, said: Asked) -> None:
    named = re.search(rf"(?<![a-z가-힣]){re.escape(said.name)}", said.question, re.IGNORECASE) if said.name else None
    if named:
        conversation.refer(said.question, named.end(), (said.at, numbers()[said.thing], UNTOLD, UNTOLD))
    conversation.say(said.question)
    _answer(conversation, said)


def _answer(conversation: Conversation, said: Asked) -> None:
    conversation.say("<|im_end|>\n<|im_start|>assistant\n")
    if said.given:
        conversation.say(said.answer[: said.given].rstrip())
        conversation.say(f"{said.answer[said.given - 1 :]}<|im_end|>", learnt=True)
    else:
        conversation.say(f"{said.answer}<|im_end|>", learnt=True)
