"""A node of a Ray cluster that is to run the server: what it lacks, found by itself."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import settings
from settings.environment import VARIABLES

_REACHED_SECONDS: Final = 3.0
_ROOMS: Final = ("settings", "stores", "models", "deployments")
_OF_THE_MACHINE: Final = frozenset({"ATELIER_HOME"})
"""What may differ from node to node."""
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "postgres": 5432, "postgresql": 5432}
_REDIS_PORT: Final = 6379


def sources_digest(root: Path) -> str:
    """A name of the code that a server runs, which changes with each of its files."""
    found = hashlib.sha256()
    files = [root / "graph.py", *(file for room in _ROOMS for file in (root / room).rglob("*.py"))]
    for file in sorted(files):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def variable_digests(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the server that are set, each by a digest: values may be secrets."""
    return {
        name: hashlib.sha256(value.encode()).hexdigest()
        for name in VARIABLES
        if name not in _OF_THE_MACHINE and (value := settings.variable(environ, name))
    }


def faults(args: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """What keeps this machine from running the application of `args`, a line each.

    `variables` are the digests of those that are set where the server was started.
    """
    here = variable_digests(os.environ)
    different = sorted(name for name in here.keys() | variables.keys() if here.get(name) != variables.get(name))
    found = []
    if different:
        found.append(f"{', '.join(different)}: not as where the server is started; export the same before `ray start`")
    try:
        return [*found, *_unreachable(settings.validate(args, os.environ))]
    except settings.ConfigurationError as error:
        return [*found, str(error)]


def _unreachable(configured: settings.Settings) -> Iterator[str]:
    """The services that do not answer from here."""
    services = {"the database": configured.search.database_url, "Redis": configured.cache.url}
    urls = {what: url.get_secret_value() for what, url in services.items() if url is not None}
    if configured.r2.enabled:
        urls["the bucket"] = configured.r2.endpoint
    for what, url in urls.items():
        there = urlsplit(url)
        host, port = there.hostname or "localhost", there.port or _PORTS.get(there.scheme, _REDIS_PORT)
        try:
            socket.create_connection((host, port), _REACHED_SECONDS).close()
        except OSError as error:
            yield f"cannot reach {what} at {host}:{port}: {error.strerror or error}"
