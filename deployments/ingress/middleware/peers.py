"""Where requests come from: over which connection, and through which proxies whose word is taken."""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.requests import HTTPConnection

Address = IPv4Address | IPv6Address
Networks = Collection[IPv4Network | IPv6Network]

PEER: Final = "x-atelier-peer"
"""HAProxy says here who called it, as "TOKEN ADDRESS"; `cli/haproxy.sh` overwrites what callers send."""
PROOF_VARIABLE: Final = "ATELIER_PEER_TOKEN"
"""The environment variable with the token of this start, which nobody else knows."""
_IPV6_SITE: Final = 64
"""Bits of an IPv6 address that a provider gives out; the rest is the caller's to choose, for each request."""


def is_behind_trusted_proxy(connection: HTTPConnection, trusted: Networks) -> bool:
    """Whether the forwarded headers of a request are to be believed."""
    return _is_in(_peer(connection), trusted)


def origin(connection: HTTPConnection, trusted: Networks) -> str:
    """The address, or IPv6 network of a site, that a request comes from: the nearest one that is not a trusted proxy's.

    A proxy appends to `X-Forwarded-For` whom it was called by, so the list is read from its end. Empty when nothing
    is known.
    """
    address = _peer(connection)
    said = _all_said(connection, "x-forwarded-for")
    while _is_in(address, trusted) and said and (before := _address(said.pop())):
        address = before
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_SITE), strict=False))
    return str(address or "")


def last_said(connection: HTTPConnection, header: str) -> str:
    """The nearest proxy's entry: it appends to what it received."""
    said = _all_said(connection, header)
    return said[-1] if said else ""


def _all_said(connection: HTTPConnection, header: str) -> list[str]:
    return [part.strip() for part in ",".join(connection.headers.getlist(header)).split(",")]


def _peer(connection: HTTPConnection) -> Address | None:
    # Behind HAProxy every connection comes from this machine. Where our wrapper did not start it, nobody writes the
    # header but callers, who do not know the token.
    token, _, address = connection.headers.get(PEER, "").partition(" ")
    if (expected := os.environ.get(PROOF_VARIABLE)) and hmac.compare_digest(token.encode(), expected.encode()):
        return _address(address)
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":  # of whom nothing is known then, and nothing believed
        return None
    return _address(connection.client.host if connection.client else "")


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # Who calls by IPv4 where both are listened to.
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _is_in(address: Address | None, networks: Networks) -> bool:
    return address is not None and any(address in network for network in networks)
