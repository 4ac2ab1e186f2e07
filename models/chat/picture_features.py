"""What a vision encoder made of pictures, remembered: a conversation about a picture reads it once.

Every turn of a conversation brings its pictures again, and reading them is often the larger part of the work.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from cachetools import LRUCache

from models.tasks import ImagePart, Message

P = ParamSpec("P")
T = TypeVar("T")

Pictures = tuple[bytes, ...]
"""The digests of a conversation's pictures, in order."""
_Key = tuple[Pictures, int, tuple[object, ...], tuple[object, ...]]
"""With the number of the call in a run, and the shapes of what the encoder is given."""


def pictures_of(messages: Sequence[Message]) -> Pictures:
    """Which pictures the messages show, by what is in their files."""
    parts = (part for message in messages for part in message.parts)
    return tuple(hashlib.sha256(part.image).digest() for part in parts if isinstance(part, ImagePart))


class PictureFeatures:
    """The features of the pictures that were looked at last, up to `most` bytes. For one thread."""

    def __init__(self, most: int) -> None:
        self._kept: LRUCache[_Key, Any] = LRUCache(most, getsizeof=_bytes)
        self._pictures: Pictures = ()
        self._calls = 0

    @property
    def nbytes(self) -> int:
        """How many bytes are kept."""
        return int(self._kept.currsize)

    @contextmanager
    def of(self, pictures: Pictures) -> Iterator[None]:
        """While the encoder looks at these pictures and no others; with none, what it sees is not remembered."""
        self._pictures, self._calls = pictures, 0
        try:
            yield
        finally:
            self._pictures = ()

    def remembered(self, encode: Callable[P, T], needed: Callable[[T], T] = lambda made: made) -> Callable[P, T]:
        """An encoder that is not run again for the same pictures.

        A model may call it several times in a run; it does so in the same way whenever it sees the same pictures.
        `needed` leaves out what of its output nobody reads.
        """

        @functools.wraps(encode)
        def look(*args: P.args, **kwargs: P.kwargs) -> T:
            if not self._pictures:
                return encode(*args, **kwargs)
            key = (self._pictures, self._calls, _shapes(args), _shapes(tuple(kwargs.values())))
            self._calls += 1
            if key in self._kept:
                known: T = self._kept[key]
                return known
            made = needed(encode(*args, **kwargs))
            with suppress(ValueError):  # one that is larger than the cache
                self._kept[key] = made
            return made

        return look

    def forget(self) -> bool:
        """Give all memory back; whether there was any."""
        had = bool(self._kept)
        self._kept.clear()
        return had


def _bytes(value: Any) -> int:
    """Of all arrays in an encoder's output."""
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, (tuple, list)):
        return sum(map(_bytes, value))
    return int(getattr(value, "nbytes", 0))


def _shapes(arguments: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(tuple(getattr(argument, "shape", ())) for argument in arguments)
