"""Stored files, by signed URL."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import BinaryIO, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.executors import FILES
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError
from stores.objects import FileStore, PublicStore, shown_type

router = APIRouter(tags=["files"])

_CHUNK: Final = 1 << 18


@router.head("/files/{key:path}", include_in_schema=False)
@router.get("/files/{key:path}", summary="A stored file", response_class=FileResponse)
async def file(request: Request, atelier: AtelierDep, key: str, expires: str = "", signature: str = "") -> Response:
    """The bytes behind a signed URL. 403 when the signature is wrong or has expired; ranges are served."""
    files = atelier.files
    # URLs of a bucket lead to the bucket itself, so none that leads here is valid then.
    if not isinstance(files, FileStore) or not files.verify(key, expires, signature):
        raise ApiError(403, "this link is not valid, or has expired", code="invalid_signature")
    return await stored(request, files, key, cache=f"private, max-age={max(0, int(expires) - int(time.time()))}")


async def stored(request: Request, files: PublicStore, key: str, *, cache: str) -> Response:
    """An object as a response that a browser shows only where that is safe; ranges are served of embedded files.

    Raises:
        KeyNotFound: there is no such object.
    """
    media_type = shown_type(key)
    headers = {
        "Cache-Control": cache,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if media_type is None:
        media_type = "application/octet-stream"
        headers["Content-Disposition"] = "attachment"
    if isinstance(files, FileStore):
        return FileResponse(await FILES.run(files.path, key), media_type=media_type, headers=headers)
    headers["Content-Length"] = str((await FILES.run(files.stat, key)).size)
    if request.method == "HEAD":
        return Response(media_type=media_type, headers=headers)
    return _ObjectResponse(await FILES.run(files.open, key), media_type=media_type, headers=headers)


class _ObjectResponse(StreamingResponse):
    """An object of a bucket, as it is read; closed however the response ends."""

    def __init__(self, content: BinaryIO, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(iter(lambda: content.read(_CHUNK), b""), media_type=media_type, headers=headers)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._content.close()
