"""The server: its address, whether one runs there, and who may ask it."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import httpx

import settings
from cli.environment import as_typed
from cli.examination.finding import Finding
from cli.up import Address, StartError, listening_address, require_free

_SECONDS = 5.0


def address(_: settings.Settings, config: Path) -> list[Finding]:
    """Whether the port is free, or an Atelier's already."""
    try:
        wanted = listening_address(config)
        require_free(wanted)
    except settings.ConfigurationError as error:
        return [Finding("problem", "address", str(error), "set PORT to a number from 1 to 65535")]
    except StartError as error:
        if _readiness(wanted) is not None:
            return []  # its health is looked at next
        return [Finding("problem", "address", str(error), f"PORT={wanted.port + 1} make run")]
    return [Finding("ok", "address", f"{wanted.host} port {wanted.port} is free; no server runs there")]


def health(_: settings.Settings, config: Path) -> list[Finding]:
    """Whether a server that runs is ready."""
    try:
        wanted = listening_address(config)
        require_free(wanted)
    except settings.ConfigurationError:
        return []
    except StartError:
        answer = _readiness(wanted)
        if answer is None:
            return []
        if answer.is_success:
            return [Finding("ok", "server", f"{wanted.url} is ready")]
        what = f"{wanted.url} is not ready: HTTP {answer.status_code} {answer.text[:200]}"
        return [Finding("problem", "server", what, f"curl -s {wanted.url}/readyz; the logs are in ATELIER_HOME/logs")]
    return []


def keys(configured: settings.Settings, config: Path) -> list[Finding]:
    """Whether others than this machine reach a server that asks for no key."""
    closed = bool(configured.api_keys or configured.admin_keys) or configured.keys_file or configured.keys_path.exists()
    try:
        host = listening_address(config).host
    except settings.ConfigurationError:
        return []
    if closed:
        return [Finding("ok", "keys", f"{host} answers with a key only")]
    if _is_loopback(host):
        return [Finding("ok", "keys", f"there are none, and only this machine reaches {host}")]
    what = f"there are none, and everybody who reaches {host} may use the server"
    return [Finding("problem", "keys", what, f"{as_typed('atelier')} keys add NAME --admin, or HOST=127.0.0.1")]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _readiness(there: Address) -> httpx.Response | None:
    """What a server says of its readiness; None when what answers is none of ours, or nothing does."""
    key = os.environ.get("ATELIER_API_KEY", "")
    try:
        answer = httpx.get(
            f"{there.url}/readyz",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_SECONDS,
            trust_env=False,
        )
    except (httpx.HTTPError, UnicodeEncodeError):
        return None
    return answer if answer.status_code in (200, 503) else None
