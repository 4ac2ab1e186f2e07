"""Pictures behind http(s) URLs, fetched only where that is allowed (docs/http-api.md, "Pictures in requests").

The server sits in somebody's home network, so a caller's URL must not reach what only the server can reach: each
address of the host has to be public, the connection goes to the very address that was checked, and a redirect is a new
URL that is checked again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from functools import cache
from typing import Final
from urllib.parse import urljoin

import httpx

from deployments.executors import NAMES
from deployments.ingress.errors import ApiError, invalid
from deployments.names import Lookups
from settings import Settings

_LOOKUPS: Final = Lookups(NAMES)
_SECONDS: Final = 10.0
_REDIRECTS: Final = 3
_EMBEDDING: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
"""IPv6 that leads to any IPv4 address, private ones among them, by way of a translator."""


async def fetch(url: str, param: str, settings: Settings, bearer_token: str | None = None) -> bytes:
    """The bytes behind a URL. `bearer_token` goes to the host of this URL only, never where it redirects.

    Raises:
        ApiError: 400 naming `param`: fetching is off, the URL is not http(s), its host is not public, or it does not
            give a file in time; 413 when it gives too many bytes.
    """
    if not settings.allow_remote_images:
        raise invalid(
            param,
            f"{param}: this server fetches no URLs (ATELIER_ALLOW_REMOTE_IMAGES=1 allows it); send the image itself",
        )
    try:
        async with asyncio.timeout(_SECONDS):
            return await _follow(url, param, settings, bearer_token)
    except TimeoutError as error:
        raise invalid(param, f"{param}: the URL did not give the image within {_SECONDS:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise invalid(param, f"{param}: the URL could not be fetched: {type(error).__name__}") from error


async def _follow(url: str, param: str, settings: Settings, bearer_token: str | None) -> bytes:
    first = httpx.URL(url)
    asked = first
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, verify=_tls()) as client:
        for _ in range(_REDIRECTS + 1):
            # packed, a few kilobytes could become gigabytes
            headers = {"Host": asked.netloc.decode(), "Accept": "image/*", "Accept-Encoding": "identity"}
            if bearer_token and _origin(asked) == _origin(first):
                headers["Authorization"] = f"Bearer {bearer_token}"
            address = await _public_address(asked, param, settings)
            request = client.build_request(
                "GET", asked.copy_with(host=address), headers=headers, extensions={"sni_hostname": asked.host}
            )
            answer = await client.send(request, stream=True)
            try:
                if answer.has_redirect_location:
                    asked = httpx.URL(urljoin(str(asked), answer.headers["location"]))
                    continue
                if answer.status_code != httpx.codes.OK:
                    raise invalid(param, f"{param}: the URL answered with status {answer.status_code}")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise invalid(param, f"{param}: the URL answered with packed content, which is not read")
                return await _read(answer, param, settings)
            finally:
                await answer.aclose()
    raise invalid(param, f"{param}: the URL redirects more than {_REDIRECTS} times")


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading all certificates takes tens of milliseconds of the event loop."""
    return httpx.create_ssl_context(trust_env=False)


async def _read(answer: httpx.Response, param: str, settings: Settings) -> bytes:
    received = bytearray()
    async for chunk in answer.aiter_raw():
        received += chunk
        if len(received) > settings.image_max_bytes:
            message = f"{param}: the URL gives more than {settings.image_max_bytes} bytes"
            raise ApiError(413, message, code="request_too_large", param=param)
    return bytes(received)


async def _public_address(url: httpx.URL, param: str, settings: Settings) -> str:
    """An address of the URL's host, once all of them are found to be public."""
    if url.scheme not in ("http", "https") or not url.host:
        raise invalid(param, f"{param}: only http and https URLs are fetched")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await _LOOKUPS.find(url.host, port)
    except OSError as error:
        raise invalid(param, f"{param}: the host of the URL has no address") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not _is_public(address) and f"{url.host}:{port}" not in settings.remote_image_hosts:
            raise invalid(param, f"{param}: the host of the URL is not public")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local or any(parsed in network for network in _EMBEDDING):
            return False
        parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
