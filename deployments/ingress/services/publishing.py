"""Storing files and handing out their URLs.

They are absolute (docs/http-api.md, "Files"): the configured public URL, else what a trusted proxy says it was asked
for, else the host of the request.
"""

from __future__ import annotations

import logging
import re
import uuid
from typing import Final

from starlette.requests import Request

from deployments.executors import FILES
from deployments.ingress.middleware import idempotency
from deployments.ingress.middleware.peers import is_behind_trusted_proxy, last_said
from deployments.ingress.services.file_server import FileServer
from deployments.ingress.services.retention import GENERATED, Retention
from settings import Settings
from stores.objects import PublicStore
from stores.uploads import Uploads

logger = logging.getLogger("ray.serve")

URL_SECONDS: Final = 3600
_REPLAYED_SECONDS: Final = 25 * 3600
"""For an answer that may be given again for a day."""
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class Publishing:
    """Keeps what was made: here, or on the file server that `FILE_SERVER` names."""

    def __init__(self, settings: Settings, files: PublicStore, uploads: Uploads, retention: Retention) -> None:
        self._settings = settings
        self._files = files
        self._uploads = uploads
        self._retention = retention
        self._file_server = FileServer(settings.file_server) if settings.file_server else None

    async def check(self) -> None:
        """Before a picture is made for `publish`: whether the file server, if there is one, takes uploads.

        Raises:
            ApiError: 503 `FILE_SERVER_UNREACHABLE`.
        """
        if self._file_server:
            await self._file_server.check()

    async def publish(self, request: Request, data: bytes, extension: str) -> str:
        """Keep a picture; an absolute URL that gives it to anybody, for an hour at least.

        It goes to `FILE_SERVER` when there is one, else where retention finds it, under a name of its own.
        `extension` is `png`, `jpeg` …

        Raises:
            ApiError: the file server is away or refuses.
            StoreError: it could not be kept.
        """
        name = f"{uuid.uuid4()}.{extension}"
        if self._file_server:
            return await self._file_server.upload(data, name)
        key = f"{self._settings.image_prefix}{GENERATED}{name}"
        await self._keep(key, data)
        seconds = _REPLAYED_SECONDS if idempotency.HEADER in request.headers else URL_SECONDS
        return self.signed_url(request, key, seconds)

    async def publish_upload(self, request: Request, data: bytes, extension: str) -> str:
        """Keep a picture as if it had been uploaded: the newest of `/latest`, with a URL that does not expire.

        Raises:
            ApiError: the file server is away or refuses.
            StoreError: it could not be kept.
        """
        if self._file_server:
            return await self._file_server.upload(data, f"{uuid.uuid4()}.{extension}")
        return f"{self.base_url(request)}/i/{await self.keep_upload(data, f'.{extension}')}"

    async def _keep(self, key: str, data: bytes) -> None:
        """Store an object under a key of the server's own. Raises `StoreError`."""
        await FILES.run(self._files.put, key, data)
        self._retention.noticed(len(data))

    async def keep_upload(self, data: bytes, suffix: str) -> str:
        """Store an upload; its name. Raises `StoreError`."""
        upload = await FILES.run(self._uploads.add, data, suffix)
        self._retention.noticed(len(data))
        return upload.name

    def signed_url(self, request: Request, key: str, seconds: int) -> str:
        """A URL of a stored file that works without a key for `seconds`."""
        link = self._files.link(key, seconds)
        return f"{self.base_url(request)}{link}" if link.startswith("/") else link

    def base_url(self, request: Request) -> str:
        """How clients reach this server, without a `/` at its end."""
        return base_url(request, self._settings)


def base_url(request: Request, settings: Settings) -> str:
    """How clients reach this server, without a `/` at its end."""
    if settings.public_url:
        return str(settings.public_url).rstrip("/")
    requested = str(request.base_url).rstrip("/")
    if not is_behind_trusted_proxy(request, settings.trusted_proxies):
        return requested
    scheme, _, host = requested.partition("://")
    said_scheme, said_host = last_said(request, "x-forwarded-proto").lower(), last_said(request, "x-forwarded-host")
    if said_scheme in ("http", "https"):
        scheme = said_scheme
    elif said_scheme:
        logger.warning("a trusted proxy sent X-Forwarded-Proto: %.60r, which is neither http nor https", said_scheme)
    if _HOST.fullmatch(said_host):
        host = said_host
    elif said_host:
        logger.warning("a trusted proxy sent X-Forwarded-Host: %.60r, which is not a host", said_host)
    return f"{scheme}://{host}"
