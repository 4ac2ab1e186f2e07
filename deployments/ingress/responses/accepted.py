"""202: the answer to who does not wait for the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class Accepted(JSONResponse):
    """Answers at once, and ends when the work does.

    Until then the request is under way: its body keeps its room, and it takes one of its caller's places. Work of which
    nobody has come to know, since the caller left before, is cancelled.
    """

    def __init__(self, content: Any, work: asyncio.Task[Any], headers: Mapping[str, str]) -> None:
        super().__init__(content, status_code=202, headers=dict(headers))
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            await super().__call__(scope, receive, send)
        except BaseException:
            self._work.cancel()
            raise
        await asyncio.wait([self._work])  # which goes on, should this wait be broken off
