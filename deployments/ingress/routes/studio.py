"""The studio: the page at `/` and its files, which have names that change with what is in them."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from deployments.executors import FILES

router = APIRouter(include_in_schema=False)

_FOLDER: Final = Path(__file__).parents[3] / "studio"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
_SAFE: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Vary": "Accept-Encoding",
}
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _File:
    media_type: str
    content: bytes
    packed: bytes
    etag: str


@router.get("/")
async def page(request: Request) -> Response:
    """The page. Asked again with its ETag, only whether it has changed."""
    return _answer(request, (await FILES.run(_files))["index.html"], "no-cache")


@router.get("/studio/{version}/{name:path}")
async def file(request: Request, version: str, name: str) -> Response:
    """A file of the page, to be kept by browsers for good: a changed one is elsewhere."""
    files = await FILES.run(_files)
    if version != await FILES.run(_version) or name not in files or name == "index.html":
        raise HTTPException(404)
    return _answer(request, files[name], _FOREVER)


def _answer(request: Request, found: _File, cache_control: str) -> Response:
    headers = {**_SAFE, "Cache-Control": cache_control, "ETag": found.etag}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if found.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def _sources() -> dict[str, bytes]:
    return {
        path.relative_to(_FOLDER).as_posix(): path.read_bytes()
        for path in sorted(_FOLDER.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }


@cache
def _version() -> str:
    """A name for all files together: modules import each other, so one that changes changes where all are."""
    whole = hashlib.sha256()
    for name, content in _sources().items():
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:16]


def _imported(name: str, known: set[str]) -> set[str]:
    """A module and all that it cannot begin without, beside what is `known`."""
    known.add(name)
    for path in re.findall(rb"^import .* from '(\..*)';$", _sources()[name], re.MULTILINE):
        found = posixpath.normpath(posixpath.join(posixpath.dirname(name), path.decode()))
        if found not in known:
            _imported(found, known)
    return known


@cache
def _files() -> dict[str, _File]:
    """Everything that is served, packed once."""
    folder = f"studio/{_version()}"  # relative: the page may be served under a prefix
    first = sorted(_imported("js/app.js", set()))
    preloads = "\n    ".join(f'<link rel="modulepreload" href="{folder}/{name}">' for name in first)
    files = {}
    for name, content in _sources().items():
        if name == "index.html":
            content = content.replace(b"{{files}}", folder.encode()).replace(b"{{preloads}}", preloads.encode())
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        files[name] = _File(_TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0), etag)
    return files
