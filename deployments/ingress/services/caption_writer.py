"""Captions with keywords and a flag, from the cache or from a model (docs/http-api.md, "Captions").

Identical requests that are under way at the same time share one call of the model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Final

from pydantic import BaseModel, ConfigDict

from deployments.executors import COMPUTING
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.single_flight import SingleFlight, side_by_side
from deployments.ingress.services.keywords import tags_of
from deployments.ingress.services.shared_captions import MadeHere, MakeOnce
from models.catalog import fingerprints
from models.tasks import ChatJob, ImagePart, Message, TextPart
from stores.cache import COLLECTION, PICTURE, Cache

logger = logging.getLogger("ray.serve")

_PROMPT: Final = "Describe this image in one short sentence."
_COLLECTIVE_PROMPT: Final = "Describe these images together in one short sentence."
_MAX_TOKENS: Final = 128
_YES: Final = ("Yes", "yes", "True", "true", "네", "예", "はい")
_NO: Final = ("No", "no", "False", "false", "아니요", "아니오", "いいえ")
"""A model may use any of them: held to one spelling or language, one not trained on it gives the other answer."""
_FLAG_TOKENS: Final = 16
_HASHED_AT_ONCE: Final = 1 << 17
"""Bytes that take less time in the event loop (0.1 ms) than in a thread, with the switch there and back."""
_AT_ONCE: Final = 8
"""Pictures of one request that a chat model has at a time: it batches them, and its queue is for other requests too."""


class Caption(BaseModel):
    """The caption of a picture, or of several together, as the cache keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    caption: str
    tags: list[str]
    flagged: bool


@dataclass(frozen=True)
class CaptionResult:
    """A caption, and whether it came from the cache."""

    caption: Caption
    is_cached: bool


@dataclass(frozen=True)
class Wording:
    """The prompts of a model. A captioner has `prompt` only, the beginning of its captions."""

    prompt: str | None
    flag_prompt: str | None
    system_prompt: str | None


_Make = Callable[[Sequence[str]], Awaitable[list[Caption]]]


class CaptionWriter:
    """Captions pictures; one per ingress replica, which shares calls of a model between identical requests.

    `make_once` makes what the cache has not, where there are several ingress replicas for all of them.
    """

    def __init__(self, models: ModelCalls, cache: Cache, make_once: MakeOnce | None = None) -> None:
        self._models = models
        self._cache = cache
        self._make_once = make_once or MadeHere(cache)
        self._flights = SingleFlight[str, CaptionResult]()
        self._weights: dict[str, str] = {}

    async def each(
        self, alias: str, prompt: str | None, flag_prompt: str | None, images: Sequence[bytes]
    ) -> list[CaptionResult]:
        """The caption of each picture, in order. Without prompts of the caller, those of the model's entry are used."""
        wording = self._wording(alias, prompt, flag_prompt, self._models.entries[alias].caption.prompt or _PROMPT)
        weights = await self._weights_of(alias)
        keys = [await _name(PICTURE, weights, wording, [image]) for image in images]
        named = [ImagePart(image, f"images[{i}]") for i, image in enumerate(images)]
        pictures = dict(zip(keys, named, strict=True))

        async def make(keys: Sequence[str]) -> list[Caption]:
            return await self._ask_each(alias, wording, [pictures[key] for key in keys])

        captions = await self._flights.get(keys, partial(self._cached_or, make))
        return [captions[key] for key in keys]

    async def together(
        self, alias: str, prompt: str | None, flag_prompt: str | None, images: Sequence[bytes]
    ) -> CaptionResult:
        """One caption of all pictures, which a chat model sees in order; cached for any order of them."""
        default = self._models.entries[alias].caption.collective_prompt or _COLLECTIVE_PROMPT
        wording = self._wording(alias, prompt, flag_prompt, default)
        name = await _name(COLLECTION, await self._weights_of(alias), wording, images)

        async def make(_: Sequence[str]) -> list[Caption]:
            named = [ImagePart(image, f"images[{i}]") for i, image in enumerate(images)]
            text, flagged = await self._ask(alias, wording, named)
            self._models.metrics.captioned(alias, 1)
            return [Caption(caption=text, tags=await COMPUTING.run(tags_of, text), flagged=flagged)]

        return (await self._flights.get([name], partial(self._cached_or, make)))[name]

    def _wording(self, alias: str, prompt: str | None, flag_prompt: str | None, question: str) -> Wording:
        entry = self._models.entries[alias]
        if entry.kind == "captioner":
            return Wording(prompt or entry.caption.prompt, None, None)
        defaults = entry.caption
        return Wording(prompt or question, flag_prompt or defaults.flag_prompt, defaults.system_prompt)

    async def _cached_or(self, make: _Make, names: list[str]) -> dict[str, CaptionResult]:
        found = await self._cache.find(names, Caption)
        missing = [name for name in names if name not in found]
        self._models.metrics.looked_up(hits=len(found), misses=len(missing))
        made = await self._make_once(missing, Caption, make) if missing else {}
        return {name: CaptionResult(found.get(name) or made[name], name in found) for name in names}

    async def _ask_each(self, alias: str, wording: Wording, images: Sequence[ImagePart]) -> list[Caption]:
        if self._models.entries[alias].kind == "captioner":
            named = {str(image.name): image.image for image in images}
            texts = await self._models.captions(alias).caption(named, wording.prompt)
            flags = [False] * len(texts)
        else:
            answers = await side_by_side(lambda image: self._ask(alias, wording, [image]), images, _AT_ONCE)
            texts, flags = [text for text, _ in answers], [flagged for _, flagged in answers]
        self._models.metrics.captioned(alias, len(texts))
        tags = await COMPUTING.run(lambda: [tags_of(text) for text in texts])
        return [
            Caption(caption=text, tags=words, flagged=flagged)
            for text, words, flagged in zip(texts, tags, flags, strict=True)
        ]

    async def _ask(self, alias: str, wording: Wording, images: Sequence[ImagePart]) -> tuple[str, bool]:
        """A chat model's caption of the pictures, and whether it flags them."""
        assert wording.prompt is not None
        text = await self._answer(alias, wording, images, wording.prompt)
        if wording.flag_prompt is None:
            return text, False
        return text, is_yes(await self._answer(alias, wording, images, wording.flag_prompt, _YES + _NO), alias)

    async def _answer(
        self,
        alias: str,
        wording: Wording,
        images: Sequence[ImagePart],
        question: str,
        form: tuple[str, ...] | None = None,
    ) -> str:
        system = (Message("system", (TextPart(wording.system_prompt),)),) if wording.system_prompt else ()
        parts: list[ImagePart | TextPart] = [*images, TextPart(question)]
        tokens = _MAX_TOKENS if form is None else _FLAG_TOKENS
        job = ChatJob((*system, Message("user", tuple(parts))), max_tokens=tokens, form=form)
        return (await self._models.chats(alias).answer(job)).text.strip()

    async def _weights_of(self, alias: str) -> str:
        """What tells one model's captions from another's: its files, as of its first request, and its options."""
        if alias not in self._weights:
            entry = self._models.entries[alias]
            said = entry.model_dump(mode="json", include={"engine", "checkpoint", "revision", "dtype", "options"})
            self._weights[alias] = json.dumps([await COMPUTING.run(fingerprints, entry), said], sort_keys=True)
        return self._weights[alias]


def is_yes(answer: str, alias: str) -> bool:
    """A real boolean from the model's words; what is neither yes nor no counts as no, and is logged."""
    word = re.search(r"\w+", answer.lower())
    first = word[0] if word else ""
    if first in _YES:
        return True
    if first not in _NO:
        logger.warning("%s answered neither yes nor no to a flag prompt: %.80r", alias, answer)
    return False


async def _name(prefix: str, weights: str, wording: Wording, images: Sequence[bytes]) -> str:
    """The cache's key. JSON keeps the parts apart, so that no two requests have the same text."""
    pictures = sorted([await _digest(image) for image in images])
    return prefix + hashlib.sha256(json.dumps([weights, astuple(wording), pictures]).encode()).hexdigest()


async def _digest(image: bytes) -> str:
    if len(image) > _HASHED_AT_ONCE:
        return await COMPUTING.run(_digest_now, image)
    return _digest_now(image)


def _digest_now(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()
