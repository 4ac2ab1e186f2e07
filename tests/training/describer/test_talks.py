"""Conversations about pictures: rows that fit, and answers that look at the right picture."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from models.cells import load_trunk
from tests.training.describer.scenes import THINGS, scene, thing
from training.art.subjects import subjects
from training.captions import LANGUAGES
from training.composer.scene import Scene
from training.conversations import Conversation, pack
from training.describer import words as d
from training.describer.labels import numbers
from training.describer.photographs import Photographs
from training.describer.talks import ROW, SIDE, Talks, language_of
from training.embedder.lexicon import Lexicon
from training.wordnet import WordNet

_TOKENS = SIDE**2
_BEGUN = re.compile(r'\{"\w+":')


class Speaker:
    """A tokenizer, and talks about scenes of one thing each."""

    def __init__(self, tokenizer: Any, photographs: Photographs, scene_of: Callable[[int], Scene]) -> None:
        self.tokenizer = tokenizer
        self.image_token: int = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.padding: int = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self.talks = Talks(self.encode, self.image_token, scene_of, photographs)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


@pytest.fixture(scope="module")
def photographs(wordnet: WordNet) -> Photographs:
    return Photographs.of(load_trunk(), Lexicon.read(wordnet))


@pytest.fixture(scope="module")
def speaker(tokenizer: Any, photographs: Photographs) -> Speaker:
    names = list(THINGS)
    return Speaker(tokenizer, photographs, lambda number: scene(thing(names[number % len(names)])))


def shown(conversation: Conversation) -> list[int]:
    """Pictures, in order; each is whole."""
    tokens = [token for segment in conversation.segments for token in segment.pictures]
    assert [token % _TOKENS for token in tokens] == list(range(_TOKENS)) * (len(tokens) // _TOKENS)
    return [token // _TOKENS for token in tokens[::_TOKENS]]


def test_conversations_show_their_scenes_their_pairs_and_their_photographs(speaker: Speaker) -> None:
    scenes, guesses, said = speaker.talks.draw(5, 3, 4, np.random.default_rng(1))
    assert len(scenes) == 5 + 2 * 3
    assert guesses.shape == (4, 1000)
    assert [shown(each) for each in said] == [
        *([i] for i in range(5)), *([5 + 2 * i, 6 + 2 * i] for i in range(3)), *([11 + i] for i in range(4)), [],
    ]  # fmt: skip


def test_rows_hold_every_picture_once_and_are_no_longer_than_a_row(speaker: Speaker) -> None:
    for seed in range(12):
        scenes, guesses, said = speaker.talks.draw(8, 2, 4, np.random.default_rng(seed))
        assert max(len(each) for each in said) <= ROW
        rows = pack(said, speaker.padding, ROW)
        assert rows.tokens.shape == rows.weights.shape == (len(rows.tokens), ROW)
        pictures = len(scenes) + len(guesses)
        assert int((rows.tokens == speaker.image_token).sum()) == len(rows.pictures) == pictures * _TOKENS
        assert rows.pictures.sort().values.tolist() == list(range(pictures * _TOKENS))
        assert not rows.weights[rows.tokens == speaker.image_token].any()


def test_an_answer_names_what_is_in_the_picture_that_it_sees(speaker: Speaker) -> None:
    scenes, _, said = speaker.talks.draw(24, 4, 3, np.random.default_rng(2))
    rows = pack(said, speaker.padding, ROW)
    told: dict[frozenset[int], list[str]] = defaultdict(list)
    first = 0
    for row, tokens in enumerate(rows.tokens):
        at = (tokens == speaker.image_token).nonzero().flatten()
        pictures = rows.pictures[first : first + len(at)] // _TOKENS
        first += len(at)
        answers: dict[frozenset[int], list[int]] = defaultdict(list)
        for column in rows.weights[row].nonzero().flatten().tolist():
            seen = frozenset(pictures[rows.sees[row, 0, column, at]].tolist())
            answers[seen].append(int(tokens[column]))
        for seen, learnt in answers.items():
            told[seen].append(speaker.decode(learnt))
    for seen, texts in told.items():
        text = " ".join(texts)
        if seen and max(seen) < len(scenes):
            present = {scenes[picture].figures[0].name for picture in seen}
            assert named_in(text) <= present, (present, text)
    assert sum(bool(named_in(" ".join(texts))) for texts in told.values()) > 20


def named_in(text: str) -> set[str]:
    found = {name for name in THINGS if re.search(rf"\b{name}\b", text.lower())}
    return found | {name for name in THINGS for each in ("ko", "ja") if subjects()[name].names[each][0] in text}


def test_only_answers_are_learnt_and_not_what_begins_them(speaker: Speaker) -> None:
    begun = set()
    for seed in range(20):
        for conversation in speaker.talks.draw(8, 1, 6, np.random.default_rng(seed))[2]:
            for segment in conversation.segments:
                learnt = [t for t, weight in zip(segment.tokens, segment.weights, strict=True) if weight]
                text, answer = speaker.decode(segment.tokens), speaker.decode(learnt)
                assert text.endswith(answer)
                assert answer.count("<|im_end|>") == bool(learnt)
                if learnt:
                    before = text.removesuffix(answer)
                    begun.add(before[before.rindex("assistant\n") + len("assistant\n") :])
    begun.remove("")
    leads = {each for each in begun if each in d.LEADS}
    assert leads
    assert begun - leads
    assert all(_BEGUN.fullmatch(each) for each in begun - leads), begun - leads


def test_questions_grow_on_the_picture_or_on_an_answer_before_them(speaker: Speaker) -> None:
    said = speaker.talks.draw(6, 0, 1, np.random.default_rng(3))[2]
    branched = [each for each in said if len(each.segments) > 2]
    assert branched
    for conversation in branched:
        assert {segment.parent for segment in conversation.segments[1:]} >= {0}
        assert all(segment.parent < number for number, segment in enumerate(conversation.segments))
        assert not any(segment.pictures for segment in conversation.segments[1:])


def test_the_name_of_a_thing_that_is_asked_for_is_noted_where_it_ends(speaker: Speaker) -> None:
    noted: dict[str, set[str]] = defaultdict(set)
    order = {number: name for name, number in numbers().items()}
    for seed in range(30):
        for conversation in speaker.talks.draw(8, 0, 1, np.random.default_rng(seed))[2]:
            for segment in conversation.segments:
                for at, (_, which, *_) in segment.means:
                    noted[order[which]].add(speaker.decode(segment.tokens[: at + 1]))
    assert set(noted) >= set(THINGS)
    for name in THINGS:
        called = [word for language in LANGUAGES for word in subjects()[name].names[language]]
        for text in noted[name]:
            assert text.lower().endswith(tuple(word.lower() for word in called)), (name, text)


def test_some_pairs_are_twice_the_same_picture(speaker: Speaker) -> None:
    scenes = speaker.talks.draw(0, 300, 1, np.random.default_rng(4))[0]
    same = np.mean([one == other for one, other in zip(scenes[::2], scenes[1::2], strict=True)])
    assert 1 / len(THINGS) < same < 0.5


def test_the_same_seed_draws_the_same_conversations(speaker: Speaker) -> None:
    one, other = (speaker.talks.draw(4, 1, 2, np.random.default_rng(6)) for _ in range(2))
    assert one[0] == other[0]
    assert torch.equal(one[1], other[1])
    assert [s.tokens for c in one[2] for s in c.segments] == [s.tokens for c in other[2] for s in c.segments]


def test_english_is_spoken_most_often() -> None:
    rng = np.random.default_rng(5)
    spoken = [language_of(rng) for _ in range(600)]
    assert set(spoken) == set(LANGUAGES)
    assert max(LANGUAGES, key=spoken.count) == "en"
