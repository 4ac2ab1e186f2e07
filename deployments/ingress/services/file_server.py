"""An outside file server, `FILE_SERVER`: pictures are uploaded to its `/upload` instead of being kept here."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from deployments.ingress.errors import ApiError
from models.outgoing import may_use_proxy

logger = logging.getLogger("ray.serve")

_TIMEOUT: Final = httpx.Timeout(30, connect=5)
_CHECK_TIMEOUT: Final = httpx.Timeout(5)
_NO_UPLOADS: Final = (401, 403, 404, 405)


class FileServer:
    """A client of one file server: another Atelier, or anything with `POST /upload` → `{"url"}`."""

    def __init__(self, url: str, *, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout

    async def check(self) -> None:
        """Find out whether it takes uploads, before work begins that would be lost.

        It gets an upload without a file, which a server that takes uploads answers with 400 or 422.

        Raises:
            ApiError: 503 `FILE_SERVER_UNREACHABLE` when it does not answer within 5 s, or only with 5xx; 502
                `FILE_SERVER_FAILED` when it has no such route or wants a key.
        """
        try:
            async with httpx.AsyncClient(timeout=_CHECK_TIMEOUT, trust_env=may_use_proxy(self._url)) as client:
                answer = await client.post(f"{self._url}/upload")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._away(repr(error)) from error
        if answer.is_server_error:
            raise self._away(f"/upload: {answer.status_code}")
        if answer.status_code in _NO_UPLOADS:
            raise self._failed(f"it answered {answer.status_code} to an upload", answer)

    async def upload(self, data: bytes, filename: str) -> str:
        """Upload a picture; its absolute URL there.

        Raises:
            ApiError: 502 `FILE_SERVER_FAILED` when it refuses the picture or answers with no URL, 503
                `FILE_SERVER_UNREACHABLE` when it does not answer.
        """
        try:
            async with httpx.AsyncClient(timeout=self._timeout, trust_env=may_use_proxy(self._url)) as client:
                answer = await client.post(f"{self._url}/upload", files={"file": (filename, data)})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._away(repr(error)) from error
        if not answer.is_success:
            raise self._failed(f"it answered {answer.status_code}", answer)
        try:
            given = answer.json()["url"]
        except (ValueError, TypeError, LookupError):
            raise self._failed("its answer names no url", answer) from None
        url = urljoin(f"{self._url}/", given) if isinstance(given, str) and given else ""
        if urlsplit(url).scheme not in ("http", "https"):
            raise self._failed("its answer names no http url", answer)
        return url

    def _away(self, reason: str) -> ApiError:
        logger.error("the file server %s does not answer: %s", self._url, reason)
        return ApiError(
            503, "the file server (FILE_SERVER) does not answer; nothing was kept", code="FILE_SERVER_UNREACHABLE",
            headers={"Retry-After": "5"},
        )  # fmt: skip

    def _failed(self, reason: str, answer: httpx.Response) -> ApiError:
        logger.error("the file server %s did not take a picture: %s: %.300s", self._url, reason, answer.text)
        return ApiError(
            502, f"the file server (FILE_SERVER) did not take the picture: {reason}", code="FILE_SERVER_FAILED"
        )
