"""The kinds of values that settings have beyond pydantic's own: keys, folders, time zones, addresses of databases."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, IPvAnyNetwork, SecretStr

OWN_FOLDERS = ("uploads/", "voices/")
"""Parts of the store that are the server's own (`ROOM` in stores/uploads.py and stores/voices.py)."""
_REDIS_URL = re.compile(r"(rediss?://([^\s/?#]*@)?[^\s/?#@]+(/\d*)?|unix://[^\s?#]+)(\?[^\s#]+)?")
"""Stricter than the library, which passes over a database that is not a number and takes no host for this machine."""


def comma_separated(value: object) -> object:
    """Text split at commas; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _key(key: SecretStr) -> SecretStr:
    if not key.get_secret_value().strip():
        raise ValueError("a key is needed, and this one is blank; leave the whole setting empty to have none")
    return SecretStr(key.get_secret_value().strip())


def split_keys(value: object) -> object:
    """Text split at commas; where that leaves none, a blank key to be refused: no keys at all let everybody in."""
    keys = comma_separated(value)
    return keys or [""] if value else keys


def _with_known_home(path: Path) -> Path:
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError("whose home ~ stands for is not known here; write the whole path") from None
    return path


def time_zone(name: str) -> tzinfo:
    """The zone of an offset (`+09:00`) or of an IANA name (`Asia/Seoul`).

    Raises:
        ValueError: it is neither.
    """
    if re.fullmatch(r"[+-]([01]\d|2[0-3]):[0-5]\d", name):
        return datetime.strptime(name, "%z").tzinfo or ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError("neither an offset such as +09:00 nor a time zone such as Asia/Seoul") from None


def _zone_name(name: str) -> str:
    time_zone(name)
    return name


def _folders(prefix: str) -> str:
    if not re.fullmatch(r"(?:(?!\.{1,2}/|\.incoming/)[^/\\\x00-\x1f\x7f]{1,100}/){0,8}", prefix):
        raise ValueError("folder names that each end in /, such as AI/IMAGES/, are needed")
    if prefix.casefold().startswith(OWN_FOLDERS):
        raise ValueError(f"the server keeps things of its own in {' and '.join(OWN_FOLDERS)}; choose another folder")
    return prefix


def _postgres_url(url: SecretStr) -> SecretStr:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        if not re.match(r"postgres(ql)?://", url.get_secret_value()):
            raise ValueError
        conninfo_to_dict(url.get_secret_value())
    except (ProgrammingError, ValueError):  # without the library's words, which may repeat a part of a password
        raise ValueError(
            "postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE is needed; special characters of a password are "
            "written as %XX"
        ) from None
    return url


def _redis_url(url: SecretStr) -> SecretStr:
    from redis.asyncio import ConnectionPool

    try:
        if not _REDIS_URL.fullmatch(url.get_secret_value()):
            raise ValueError
        ConnectionPool.from_url(url.get_secret_value()).make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):  # without the library's words, which may repeat a part of a password
        raise ValueError(
            "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, or unix://PATH is needed; "
            "special characters of a password are written as %XX"
        ) from None
    return url


Key = Annotated[SecretStr, AfterValidator(_key)]
Keys = Annotated[tuple[Key, ...], BeforeValidator(split_keys)]
HomePath = Annotated[Path, AfterValidator(_with_known_home)]
FolderPrefix = Annotated[str, AfterValidator(_folders)]
ZoneName = Annotated[str, AfterValidator(_zone_name)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
Origins = Annotated[tuple[str, ...], BeforeValidator(comma_separated)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(comma_separated)]
