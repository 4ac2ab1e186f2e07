"""Paths as clients write them whose base URL ends in a slash: `//v1/models`, `/v1/models/`."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES: Final = re.compile(r"/{2,}")


class Paths:
    """Answers such a path as the plain one, in place: a redirect loses bodies, and leads to whatever `Host` says.

    Outermost, so that all that asks which route a request matches sees one path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            scope = {**scope, "path": plain(scope["path"], scope.get("root_path", ""))}
        await self.app(scope, receive, send)


def plain(path: str, root: str) -> str:
    """A path without double and trailing slashes; `root` is the prefix under which the application is."""
    plain = _SLASHES.sub("/", path).rstrip("/")
    return f"{root}/" if plain == root.rstrip("/") else plain
