"""Calls to servers that the configuration names, without what the environment says of other programs."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import AsyncOpenAI, Timeout


def is_nearby(url: str) -> bool:
    """Whether a URL's host is this machine or, by its name or address, one of the private network."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))


def may_use_proxy(url: str) -> bool:
    """Whether a call may go by the proxy of HTTP_PROXY and the like: only out of the private network.

    httpx would send calls to 127.0.0.1 there too, with the pictures and texts in them, unless NO_PROXY says otherwise.
    """
    return not is_nearby(url)


def openai_client(
    base_url: str,
    api_key: str,
    timeout: float | Timeout,
    max_retries: int = 0,
    headers: Mapping[str, str] | None = None,
) -> AsyncOpenAI:
    """A client of an OpenAI-compatible server that sends it nothing of the environment's OPENAI_… variables."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    return AsyncOpenAI(
        api_key=api_key,
        base_url=base_url,
        organization="",
        project="",
        timeout=timeout,
        max_retries=max_retries,
        default_headers=headers,
        http_client=DefaultAsyncHttpxClient(trust_env=may_use_proxy(base_url)),
    )
