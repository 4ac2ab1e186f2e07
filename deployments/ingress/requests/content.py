"""The bytes of a request's body: gzip or deflate unpacked, within a limit."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.requests import Request

from deployments.ingress.errors import ApiError, invalid

_DRAIN_LIMIT: Final = 64 << 20


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks, unpacked, `limit` bytes in all.

    Past the limit, packed or not, the rest is read and dropped: clients lose the response otherwise.

    Raises:
        ApiError: 413 for a larger body, 415 for a `Content-Encoding` that is not read here, 400 where it is not true.
    """
    unpack = _unpacker(request.headers.get("content-encoding", "identity").strip().lower())
    received = unpacked = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit + _DRAIN_LIMIT:
            break
        if max(received, unpacked) > limit:
            continue
        piece = unpack(chunk, limit - unpacked + 1)
        unpacked += len(piece)
        if unpacked <= limit:
            yield piece
    if max(received, unpacked) > limit:
        raise ApiError(413, f"the request body is larger than {limit} bytes", code="request_too_large")


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What turns a chunk of the body into at most so many bytes."""
    if encoding in ("", "identity"):
        return lambda chunk, _: chunk
    if encoding not in ("gzip", "x-gzip", "deflate"):
        message = f"content encoding {encoding[:40]!r} is not read here; allowed are gzip and deflate"
        raise ApiError(415, message, code="unsupported_media_type", param="Content-Encoding")
    packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # of either head

    def unpack(chunk: bytes, room: int) -> bytes:
        try:
            return packed.decompress(chunk, room)
        except zlib.error as error:
            raise invalid(None, f"the body is not {encoding}, as Content-Encoding says", "invalid_body") from error

    return unpack
