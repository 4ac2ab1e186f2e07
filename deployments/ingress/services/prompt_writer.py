"""A title and a description into one line that a text-to-image model can draw (docs/configuration.md).

A chat model writes it: an OpenAI-compatible endpoint when there is a key, else the configured alias of this server.
With neither, or when the model fails, title and description are joined.
"""

from __future__ import annotations

import asyncio
import logging
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cachetools import LRUCache

from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.single_flight import SingleFlight
from models.outgoing import openai_client
from models.tasks import ChatJob, Message, TextPart
from settings import Prompts

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger("ray.serve")

MAX_PROMPT: Final = 2000
"""Characters; what the picture routes take as a prompt."""
_SECONDS: Final = 20.0
_RETRIES: Final = 1
_CACHE_SIZE: Final = 1024
_MAX_TOKENS: Final = 300
_CUT_AT_A_SPACE_WITHIN: Final = 100
INSTRUCTION: Final = (
    "You write prompts for a text-to-image model. From the title and the description that follow, write one caption of "
    "the picture: what is seen, where, in which colours, light and style. Answer in English, whatever the language of "
    "the title, with the caption alone: a single line of plain text, at most 100 words, no quotes, no heading, no JSON."
)


@dataclass(frozen=True)
class WrittenPrompt:
    """A prompt of one line, 1 to 2000 characters, and where it comes from.

    `joined`: no model is configured; `fallback`: it failed.
    """

    prompt: str
    source: Literal["model", "joined", "fallback"]


class UnusableAnswer(Exception):
    """The model's answer is not a caption; the text says why, without repeating it."""


class PromptWriter:
    """Writes prompts, remembers those that a model wrote, and shares one call between identical requests."""

    def __init__(self, settings: Prompts, models: ModelCalls, seconds: float = _SECONDS) -> None:
        self._settings = settings
        self._models = models
        self._seconds = seconds
        self._client: AsyncOpenAI | None = None
        self._cache: LRUCache[tuple[str, str, str], WrittenPrompt] = LRUCache(_CACHE_SIZE)
        self._flights = SingleFlight[tuple[str, str, str], WrittenPrompt]()

    async def write(self, title: str, description: str) -> WrittenPrompt:
        """The prompt; never an error. A caller who is cancelled ends the model's work, unless others wait for it too.

        A failing or slow model costs 20 s at most, and is asked again by the next call.
        """
        model = self._settings.model if self._settings.api_key else self._settings.alias
        if model is None:
            return WrittenPrompt(join_texts(title, description), "joined")
        key = (model, title, description)
        if key in self._cache:
            return self._cache[key]
        return (await self._flights.get([key], self._write_all))[key]

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self._client is not None:
            await self._client.close()

    async def _write_all(self, keys: list[tuple[str, str, str]]) -> dict[tuple[str, str, str], WrittenPrompt]:
        return {key: await self._written(key) for key in keys}

    async def _written(self, key: tuple[str, str, str]) -> WrittenPrompt:
        _, title, description = key
        try:
            async with asyncio.timeout(self._seconds):
                ask = self._ask_endpoint if self._settings.api_key else self._ask_alias
                written = WrittenPrompt(caption(await ask(f"Title: {title}\nDescription: {description}")), "model")
        except Exception as error:  # noqa: BLE001 - no failure of the writer may cost the caller the picture
            logger.warning("the prompt writer fell back to the joined texts: %s", _reason(error))
            return WrittenPrompt(join_texts(title, description), "fallback")
        self._cache[key] = written
        return written

    async def _ask_endpoint(self, texts: str) -> str | None:
        # Neither a temperature nor a limit of tokens: some endpoints refuse the one or know the other by another name.
        answer = await self._endpoint().chat.completions.create(
            model=self._settings.model,
            messages=[{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": texts}],
        )
        choice = answer.choices[0]
        if choice.finish_reason == "length":
            raise UnusableAnswer("it is cut off")
        return choice.message.content

    async def _ask_alias(self, texts: str) -> str | None:
        messages = (Message("system", (TextPart(INSTRUCTION),)), Message("user", (TextPart(texts),)))
        assert self._settings.alias is not None
        answer = await self._models.chats(self._settings.alias).answer(ChatJob(messages, max_tokens=_MAX_TOKENS))
        if answer.finish_reason == "length":
            raise UnusableAnswer("it is cut off")
        return answer.text

    def _endpoint(self) -> AsyncOpenAI:
        if self._client is None:
            assert self._settings.api_key is not None
            self._client = openai_client(
                self._settings.base_url,
                self._settings.api_key.get_secret_value(),
                self._seconds,
                max_retries=_RETRIES,  # within the same 20 s
            )
        return self._client


def join_texts(title: str, description: str) -> str:
    """Both texts as one line, cut at a word where it would be longer than 2000 characters."""
    title, description = (" ".join(text.split()) for text in (title, description))
    between = " " if title[-1:] in set(".!?…。！？") or not title or not description else ". "
    line = f"{title}{between}{description}".strip()
    if len(line) <= MAX_PROMPT:
        return line
    space = line.rfind(" ", MAX_PROMPT - _CUT_AT_A_SPACE_WITHIN, MAX_PROMPT + 1)
    return line[: space if space > 0 else MAX_PROMPT].rstrip()


_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.DOTALL)
_HEADING = re.compile(
    r"(?:[-•#]+\s+|[*_]{0,2}(?:(?:image|english|picture)\s+)?(?:caption|prompt|title)[*_]{0,2}\s*:[*_]{0,2}\s*"
    r"|(?:sure|certainly|here)\b[^:\n]{0,80}\b(?:caption|prompt)\b[^:\n]{0,40}:\s*)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(r"(?:(?:i['’]m|i am)\s+)?sorry\b|i\s+(?:can(?:not|['’]t)|am unable|won['’]t)\b", re.IGNORECASE)
_WRAPPINGS: Final = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("「", "」"), ("**", "**"), ("`", "`"))


def caption(answer: object) -> str:
    """The one line in a model's answer, without the fences, headings and quotes that models put around it.

    Raises:
        Rubbish: the answer is not one line of English text of at most 2000 characters.
    """
    if not isinstance(answer, str):
        raise UnusableAnswer("it is not text")
    text = _unwrapped(_THOUGHT.sub("", answer, count=1))
    if not text:
        raise UnusableAnswer("it is empty")
    if len(text.splitlines()) > 1:
        raise UnusableAnswer("it has several lines")
    text = " ".join(text.split())
    if text[0] in "{[<":
        raise UnusableAnswer("it is JSON or markup")
    if len(text) > MAX_PROMPT:
        raise UnusableAnswer(f"it has more than {MAX_PROMPT} characters")
    if "\ufffd" in text or any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in text):
        raise UnusableAnswer("it has characters that are not text")
    letters = [character for character in text if character.isalpha()]
    if 2 * sum(letter.isascii() for letter in letters) <= len(letters):
        raise UnusableAnswer("it is not English")
    if _REFUSAL.match(text):
        raise UnusableAnswer("it is a refusal")
    return text


def _unwrapped(text: str) -> str:
    before = None
    while text != before:
        before = text = text.strip()
        if fenced := _FENCE.fullmatch(text):
            text = fenced[1]
        elif heading := _HEADING.match(text):
            text = text[heading.end() :]
        for opening, closing in _WRAPPINGS:
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and opening not in inner and closing not in inner:
                text = inner
    return text


def _reason(error: Exception) -> str:
    """What failed, without the texts: an endpoint's message may repeat them, or its key."""
    if isinstance(error, UnusableAnswer):
        return f"the answer cannot be used, {error}"
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    return type(error).__name__ + (f", status {status}" if status else "")
