"""Answers with pictures in them, put together without stopping the event loop for long."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deployments.executors import COMPUTING

_PIECE: Final = 3 * 2**18
"""Bytes encoded at once: a multiple of three, and a millisecond's work, after which others may run."""


async def with_base64(
    answer: Mapping[str, Any], items: Sequence[dict[str, Any]], name: str, data: Sequence[bytes]
) -> bytes:
    """The JSON of `answer`, each of its `items` having `name`: the base64 of its `data`.

    JSON of ten large pictures in one go takes seconds, in which nobody else would be served; so a thread does it. For
    a millisecond's work the thread would take as long again.
    """
    if sum(map(len, data)) <= _PIECE:
        return _put_together(answer, items, name, data)
    return await COMPUTING.run(_put_together, answer, items, name, data)


def _put_together(
    answer: Mapping[str, Any], items: Sequence[dict[str, Any]], name: str, data: Sequence[bytes]
) -> bytes:
    place = uuid.uuid4().hex
    for item in items:
        item[name] = place
    between = json.dumps(answer, separators=(",", ":")).encode().split(place.encode())
    pieces = [between[0]]
    for picture, following in zip(data, between[1:], strict=True):
        pieces += _encoded(picture)
        pieces.append(following)
    return b"".join(pieces)


def _encoded(data: bytes) -> Iterator[bytes]:
    for first in range(0, len(data), _PIECE):
        yield base64.b64encode(data[first : first + _PIECE])
