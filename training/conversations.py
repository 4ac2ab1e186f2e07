"""Many questions about few pictures, packed into rows that a language model learns from at once.

A conversation is a tree of segments: the pictures stand in the first, and every question with its answer is a branch
that sees the pictures but not its neighbours, just as if it had been asked alone. So looking costs little a question,
and learning is what answering will be. Now and then a branch grows on a branch: a conversation of several turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import wordings
from training.captions import LANGUAGES, Language
from training.questions import Exchange, Reference, ask, ask_two, both, changed, talk
from training.world import COLOURS, PLACES, SHAPES, Scene, random_scene

ROW: Final = 256
"""Tokens in a row."""
_SIDE: Final = 4
"""Merged tokens a side of a picture."""
_LANGUAGE_SHARES: Final = (0.5, 0.25, 0.25)

Encode = Callable[[str], list[int]]


@dataclass
class _Segment:
    parent: int
    tokens: list[int] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    """How much each token counts as an answer to learn; 0 for what was asked."""
    pictures: list[int] = field(default_factory=list)
    """For each picture token, the picture's number times the tokens of one, plus the token's place in it."""
    end: int = 0
    """The position after the last token."""
    means: list[tuple[int, tuple[int, int, int, int]]] = field(default_factory=list)
    """Tokens that end the name of a thing, and what `meant` says of it."""


@dataclass
class Conversation:
    """Segments in reading order; a segment's parent stands before it (-1: none)."""

    encode: Encode
    image_token: int
    segments: list[_Segment] = field(default_factory=list)
    side: int = _SIDE
    """Tokens a side of a picture."""

    def __len__(self) -> int:
        return sum(len(s.tokens) for s in self.segments)

    def begin(self, parent: int = -1) -> int:
        """A new segment after the parent; its number."""
        start = self.segments[parent].end if parent >= 0 else 0
        self.segments.append(_Segment(parent, end=start))
        return len(self.segments) - 1

    def say(self, text: str, *, learnt: bool = False) -> None:
        """Add text to the newest segment."""
        segment = self.segments[-1]
        tokens = self.encode(text)
        segment.tokens += tokens
        segment.positions += [(p, p, p) for p in range(segment.end, segment.end + len(tokens))]
        segment.weights += [len(tokens) ** -0.5 if learnt else 0.0] * len(tokens)
        segment.end += len(tokens)

    def show(self, picture: int) -> None:
        """Add a picture to the newest segment; its tokens stand at three-dimensional positions."""
        self.say("<|vision_start|>")
        segment = self.segments[-1]
        start, count = segment.end, self.side**2
        segment.tokens += [self.image_token] * count
        segment.positions += [(start, start + i // self.side, start + i % self.side) for i in range(count)]
        segment.weights += [0.0] * count
        segment.pictures += [picture * count + i for i in range(count)]
        segment.end = start + self.side
        self.say("<|vision_end|>")

    def exchange(self, said: Exchange, scenes: Sequence[Scene] = ()) -> None:
        """Add the question and its answer; `scenes`: what the pictures before it show."""
        if said.reference and scenes:
            words = said.reference.words
            start = said.question.lower().rfind(words.lower())
            if start >= 0:
                self.refer(said.question, start + len(words), meant(said.reference, scenes))
        self.say(f"{said.question}<|im_end|>\n<|im_start|>assistant\n")
        self.say(f"{said.answer}<|im_end|>", learnt=True)

    def refer(self, question: str, end: int, meaning: tuple[int, int, int, int]) -> None:
        """Note what a name means that ends before the letter `end` of a question, which is said next."""
        before = self.encode(question[:end])
        if self.encode(question)[: len(before)] == before:
            segment = self.segments[-1]
            segment.means.append((len(segment.tokens) + len(before) - 1, meaning))


UNTOLD: Final = -100
"""What `meant` says where there is nothing to say; losses leave it out."""


def meant(reference: Reference, scenes: Sequence[Scene]) -> tuple[int, int, int, int]:
    """Where the thing is in the first and in the second picture, its colour and its shape in the first.

    Places: 0 nowhere, 1 … 5, or 6 for more things than one.
    """
    found = [[t for t in scene.things if reference.fits(t)] for scene in scenes]
    places = [6 if len(f) > 1 else 1 + PLACES.index(f[0].place) if f else 0 for f in found]
    colour, shape = UNTOLD, UNTOLD
    if len(found[0]) == 1:
        colour, shape = COLOURS.index(found[0][0].colour), SHAPES.index(found[0][0].shape)
    return places[0], places[1] if len(places) > 1 else UNTOLD, colour, shape


@dataclass(frozen=True)
class Rows:
    """Packed conversations, [rows, row] each."""

    tokens: Tensor
    positions: Tensor
    """[3, rows, row]: time, height and width."""
    sees: Tensor
    """bool [rows, 1, row, row]: which token may look at which."""
    weights: Tensor
    pictures: Tensor
    """int64 [picture tokens]: which merged token stands where `tokens` are picture tokens, row by row."""
    names: Tensor
    """int64 [names, 2]: row and column of the tokens that end the name of a thing."""
    meanings: Tensor
    """int64 [names, 4]: see `meant`."""

    def to(self, device: torch.device) -> Rows:
        """The same rows on another device."""
        return Rows(*(each.to(device, non_blocking=True) for each in vars(self).values()))


def pack(conversations: Sequence[Conversation], padding: int, row: int = ROW) -> Rows:
    """Fill rows of so many tokens first-fit; conversations longer than a row are an error."""
    rows: list[list[_Segment]] = []
    room: list[int] = []
    for conversation in sorted(conversations, key=len, reverse=True):
        at = next((i for i, left in enumerate(room) if left >= len(conversation)), None)
        if at is None:
            rows.append([])
            room.append(row)
            at = len(rows) - 1
        offset = len(rows[at])
        for segment in conversation.segments:
            segment.parent += offset if segment.parent >= 0 else 0
            rows[at].append(segment)
        room[at] -= len(conversation)
        if room[at] < 0:
            raise ValueError(f"a conversation of {len(conversation)} tokens is longer than a row of {row}")
    tokens = np.full((len(rows), row), padding, np.int64)
    positions = np.zeros((3, len(rows), row), np.int64)
    weights = np.zeros((len(rows), row), np.float32)
    sees = np.zeros((len(rows), row, row), np.bool_)
    pictures: list[int] = []
    names: list[tuple[int, int]] = []
    meanings: list[tuple[int, int, int, int]] = []
    for i, segments in enumerate(rows):
        flat = [t for s in segments for t in s.tokens]
        tokens[i, : len(flat)] = flat
        positions[:, i, : len(flat)] = np.array([p for s in segments for p in s.positions]).T
        weights[i, : len(flat)] = [x for s in segments for x in s.weights]
        sees[i] = _sees(segments, row)
        pictures += [p for s in segments for p in s.pictures]
        starts = np.cumsum([0, *(len(s.tokens) for s in segments)])
        for start, segment in zip(starts, segments, strict=False):
            names += [(i, int(start) + at) for at, _ in segment.means]
            meanings += [meaning for _, meaning in segment.means]
    return Rows(
        torch.from_numpy(tokens),
        torch.from_numpy(positions),
        torch.from_numpy(sees)[:, None],
        torch.from_numpy(weights),
        torch.tensor(pictures, dtype=torch.int64),
        torch.tensor(names, dtype=torch.int64).view(-1, 2),
        torch.tensor(meanings, dtype=torch.int64).view(-1, 4),
    )


def _sees(segments: Sequence[_Segment], row: int) -> npt.NDArray[np.bool_]:
    """A token sees its own segment's tokens up to itself and those of the segments that its own grows on."""
    above = np.zeros((len(segments) + 1, len(segments) + 1), np.bool_)
    for i, segment in enumerate(segments):
        if segment.parent >= 0:
            above[i] = above[segment.parent]
        above[i, i] = True
    above[-1, -1] = True  # padding sees padding
    owner = np.full(row, len(segments))
    lengths = [len(s.tokens) for s in segments]
    owner[: sum(lengths)] = np.repeat(np.arange(len(segments)), lengths)
    seen: npt.NDArray[np.bool_] = above[owner][:, owner] & np.tri(row, dtype=np.bool_)
    return seen


class Talks:
    """Draws the conversations of a batch, and the scenes that they are about. `word`: how many scenes have a word."""

    def __init__(self, encode: Encode, image_token: int, word: float = 0.4) -> None:
        self._encode = encode
        self._image_token = image_token
        self._word = word

    def draw(self, singles: int, pairs: int, rng: np.random.Generator) -> tuple[list[Scene], list[Conversation]]:
        """Scenes and conversations about them: `singles` scenes alone, `pairs` of two, and a few words about none."""
        scenes: list[Scene] = []
        conversations = []
        for _ in range(singles):
            scenes.append(random_scene(rng, things=(0.02, 0.3, 0.36, 0.32), word=self._word))
            conversations.append(self._about_one(scenes[-1], len(scenes) - 1, rng))
            if rng.random() < 0.7:
                conversations.append(self._asked_first(scenes[-1:], len(scenes) - 1, rng))
        for _ in range(pairs):
            first = random_scene(rng, things=(0.01, 0.6, 0.25, 0.14), word=0.1)
            other = changed(first, rng) if rng.random() < 0.5 else random_scene(rng, things=(0.0, 0.65, 0.25, 0.1))
            pair = [first, other] if rng.random() < 0.5 else [other, first]
            conversations.append(self._about_two(pair, len(scenes), rng))
            if rng.random() < 0.3:
                conversations.append(self._asked_first(pair, len(scenes), rng))
            scenes += pair
        conversations += [self._about_none(rng) for _ in range(max(1, singles // 12))]
        conversations.append(self._about_several(scenes, rng))
        return scenes, conversations

    def _start(self, rng: np.random.Generator) -> Conversation:
        conversation = Conversation(self._encode, self._image_token)
        conversation.begin()
        if rng.random() < 0.15:
            system = wordings.SYSTEM[int(rng.integers(len(wordings.SYSTEM)))]
            conversation.say(f"<|im_start|>system\n{system}<|im_end|>\n")
        conversation.say("<|im_start|>user\n")
        return conversation

    def _about_one(self, scene: Scene, picture: int, rng: np.random.Generator) -> Conversation:
        conversation = self._start(rng)
        conversation.show(picture)
        parent = 0
        for _ in range(int(rng.integers(6, 11))):
            self._branch(conversation, _asked(scene, rng), parent, [scene])
            # The next question may come after this answer instead of beside it.
            parent = len(conversation.segments) - 1 if rng.random() < 0.12 else 0
        return conversation

    def _about_two(self, scenes: Sequence[Scene], first: int, rng: np.random.Generator) -> Conversation:
        conversation = self._start(rng)
        for i in range(len(scenes)):
            conversation.show(first + i)
        for _ in range(int(rng.integers(5, 9))):
            self._branch(conversation, ask_two(scenes[0], scenes[1], rng, _language(rng)), 0, scenes)
        return conversation

    def _branch(self, conversation: Conversation, said: Exchange, parent: int, scenes: Sequence[Scene]) -> None:
        number = conversation.begin(parent)
        if parent > 0:
            conversation.say("\n<|im_start|>user\n")
        conversation.exchange(said, scenes)
        if len(conversation) > ROW:
            del conversation.segments[number:]

    def _asked_first(self, scenes: Sequence[Scene], first: int, rng: np.random.Generator) -> Conversation:
        """One question that stands before the pictures, as OpenAI's examples have it."""
        said = _asked(scenes[0], rng) if len(scenes) == 1 else ask_two(scenes[0], scenes[1], rng, _language(rng))
        conversation = self._start(rng)
        conversation.say(said.question)
        for i in range(len(scenes)):
            conversation.show(first + i)
        conversation.say("<|im_end|>\n<|im_start|>assistant\n")
        conversation.say(f"{said.answer}<|im_end|>", learnt=True)
        return conversation

    def _about_none(self, rng: np.random.Generator) -> Conversation:
        conversation = self._start(rng)
        conversation.exchange(talk(rng, _language(rng)))
        return conversation

    def _about_several(self, scenes: Sequence[Scene], rng: np.random.Generator) -> Conversation:
        """Three or four pictures described together."""
        chosen = rng.choice(len(scenes), int(rng.integers(3, 5)), replace=False)
        shown = [scenes[int(i)] for i in chosen]
        language = _language(rng)
        question = ask_two(shown[0], shown[1], rng, language, "both").question
        conversation = self._start(rng)
        for i in chosen:
            conversation.show(int(i))
        conversation.exchange(Exchange("both", language, question, both(shown, language)))
        return conversation


def _language(rng: np.random.Generator) -> Language:
    return LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]


def _asked(scene: Scene, rng: np.random.Generator) -> Exchange:
    said = ask(scene, rng, _language(rng))
    assert said is not None
    return said
