"""Keys that clients choose: confined to their route's part of the store (docs/http-api.md, "Keys of the store")."""

from __future__ import annotations

from typing import Final

from deployments.ingress.errors import ApiError
from deployments.ingress.services.retention import GENERATED, SPOKEN
from settings import Settings
from stores.errors import InvalidKey
from stores.objects import check_key
from stores.owners import ROOM as OWNERS
from stores.owners import Owners
from stores.uploads import ROOM as UPLOADS
from stores.voices import ROOM as VOICES

_PLAIN_VOICES: Final = "voice/"
"""Where older clients keep recordings and speech, whatever the prefix is."""


def image_key(key: str, settings: Settings, param: str = "key") -> str:
    """A picture's key, under `image_prefix`. Raises as `voice_key` does."""
    return _checked(key, (settings.image_prefix,), settings, param)


def voice_key(key: str, settings: Settings, param: str = "key") -> str:
    """The key of a recording or of speech, under `voice_prefix` or `voice/`, as it was given: it is used whole.

    Raises:
        ApiError: it leaves the route's part of the store, or names what is not the client's: a backup of the search
            index, a picture of image search, an upload, a stored voice. 400 `INVALID_KEY`, naming `param`.
    """
    return _checked(key, (settings.voice_prefix, _PLAIN_VOICES), settings, param)


def _checked(key: str, prefixes: tuple[str, ...], settings: Settings, param: str) -> str:
    try:
        check_key(key)
        Owners.check(key)
        if problem := _problem(key, prefixes, settings):
            raise InvalidKey(f"{key if len(key) <= 60 else f'{key[:57]}…'!r} {problem}")
    except InvalidKey as error:
        raise ApiError(400, f"{param}: {error}", code="INVALID_KEY", param=param) from None
    return key


def _problem(key: str, prefixes: tuple[str, ...], settings: Settings) -> str | None:
    """Why a client may not have this key; None when it may."""
    if not key.startswith(prefixes):
        allowed = " or ".join(map(repr, prefixes))
        return f"is outside this route's part of the store; it must begin with {allowed}"
    # Some file systems, and people, take A and a for the same.
    folded = key.casefold()
    backup = settings.search.backup_key.casefold().rpartition("/")[2]
    if any(part.startswith(backup) for part in folded.split("/")):
        return "names a backup of the search index; choose another"
    for room, content in ((UPLOADS, "uploads"), (VOICES, "stored voices"), (OWNERS, "records of owners")):
        if folded.startswith(room):
            return f"is among the {content}; choose another"
    of_voice = tuple(prefix.casefold() for prefix in (settings.voice_prefix, _PLAIN_VOICES) if prefix)
    if _PLAIN_VOICES not in prefixes and folded.startswith(of_voice):
        return "is among the recordings of voices; choose another"
    if _is_of_search(folded, settings.search.prefix.casefold()):
        return "is among the pictures of image search; choose another"
    # In the embedded store an object of this name would be in the way of a folder.
    folders = (
        UPLOADS,
        VOICES,
        OWNERS,
        settings.search.prefix,
        settings.voice_prefix,
        SPOKEN,
        f"{settings.image_prefix}{GENERATED}",
        f"{settings.voice_prefix}{SPOKEN}",
    )
    if any(folder.casefold().startswith(f"{folded}/") for folder in folders):
        return "is a folder of the store; choose another"
    return None


def _is_of_search(key: str, prefix: str) -> bool:
    """Whether an object of image search has, or could have, this key (`{prefix}{project}/images/{id}`)."""
    if prefix:
        return key.startswith(prefix)
    return "/" not in key or key.split("/")[1] in ("images", "thumbnails")
