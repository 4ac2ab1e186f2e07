"""URLs of stored files, and keeping what they lead to.

They are absolute (API.md 3C): the configured public URL, else what a trusted proxy says it was asked for, else the
host of the request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from typing import Final

from starlette.requests import Request

from deployments.ingress.middleware import idempotency
from deployments.ingress.middleware.peers import is_behind_trusted_proxy, last_said
from deployments.ingress.services.file_server import FileServer
from deployments.ingress.services.retention import GENERATED

logger = logging.getLogger("ray.serve")

URL_SECONDS: Final = 3600
_REPLAYED_SECONDS: Final = 25 * 3600
"""For an answer that may be given again for a day."""
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


async def check_publishing(request: Request) -> None:
    """Before a picture is made that `publish` shall keep: whether there is a place for it.

    Raises:
        ApiError: 503 `FILE_SERVER_UNREACHABLE`.
    """
    if server := _file_server(request):
        await server.check()


async def publish(request: Request, data: bytes, extension: str, prefix: str | None = None) -> str:
    """Keep a picture; an absolute URL that gives it to anybody, for an hour at least.

    It goes to `FILE_SERVER` when there is one. Else it is kept under `prefix` (which ends in `/`; by default where
    retention finds it) with a name of its own. `extension` is `png`, `jpeg` …

    Raises:
        ApiError: the file server is away or refuses.
        StoreError: it could not be kept.
    """
    name = f"{uuid.uuid4()}.{extension}"
    if server := _file_server(request):
        return await server.upload(data, name)
    if prefix is None:
        prefix = f"{request.app.state.atelier.settings.image_prefix}{GENERATED}"
    key = f"{prefix}{name}"
    await keep(request, key, data)
    return signed_url(request, key, _REPLAYED_SECONDS if idempotency.HEADER in request.headers else URL_SECONDS)


async def publish_upload(request: Request, data: bytes, extension: str) -> str:
    """Keep a picture as if it had been uploaded: the newest of `/latest`, with a URL that does not expire.

    Raises:
        ApiError: the file server is away or refuses.
        StoreError: it could not be kept.
    """
    if server := _file_server(request):
        return await server.upload(data, f"{uuid.uuid4()}.{extension}")
    return f"{base_url(request)}/i/{await keep_upload(request, data, f'.{extension}')}"


async def keep(request: Request, key: str, data: bytes) -> None:
    """Store an object under a key, which a client may have chosen (`object_keys.client_key`). Raises `StoreError`."""
    atelier = request.app.state.atelier
    await asyncio.to_thread(atelier.files.put, key, data)
    atelier.retention.noticed(len(data))


async def keep_upload(request: Request, data: bytes, suffix: str) -> str:
    """Store an upload; its name. Raises `StoreError`."""
    atelier = request.app.state.atelier
    upload = await asyncio.to_thread(atelier.uploads.add, data, suffix)
    atelier.retention.noticed(len(data))
    return str(upload.name)


def signed_url(request: Request, key: str, seconds: int) -> str:
    """A URL of a stored file that works without a key for `seconds`."""
    link: str = request.app.state.atelier.files.link(key, seconds)
    return f"{base_url(request)}{link}" if link.startswith("/") else link


def base_url(request: Request) -> str:
    """How clients reach this server, without a `/` at its end."""
    settings = request.app.state.atelier.settings
    if settings.public_url:
        return str(settings.public_url).rstrip("/")
    asked = str(request.base_url).rstrip("/")
    if not is_behind_trusted_proxy(request, settings.trusted_proxies):
        return asked
    scheme, _, host = asked.partition("://")
    said_scheme, said_host = last_said(request, "x-forwarded-proto").lower(), last_said(request, "x-forwarded-host")
    if said_scheme in ("http", "https"):
        scheme = said_scheme
    elif said_scheme:
        logger.warning("a trusted proxy sent X-Forwarded-Proto: %.60r, which is neither http nor https", said_scheme)
    if _HOST.fullmatch(said_host):
        host = said_host
    elif said_host:
        logger.warning("a trusted proxy sent X-Forwarded-Host: %.60r, which is no host", said_host)
    return f"{scheme}://{host}"


def _file_server(request: Request) -> FileServer | None:
    url = request.app.state.atelier.settings.file_server
    return FileServer(url) if url else None
