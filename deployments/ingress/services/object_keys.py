"""Keys that clients choose: confined to their route's part of the store (API.md section 3D)."""

from __future__ import annotations

from deployments.ingress.errors import ApiError
from deployments.ingress.services.retention import GENERATED, SPOKEN
from settings import Settings
from stores.errors import InvalidKey
from stores.objects import check_key
from stores.uploads import ROOM
from stores.voices import ROOM as VOICES


def client_key(key: str, prefix: str, settings: Settings, param: str = "key") -> str:
    """The key as it was given, once it is one that a client may write to.

    `prefix` is the route's part of the store, such as `settings.image_prefix`. A key that the client chose is used
    whole, so it begins with the prefix.

    Raises:
        ApiError: it leaves the prefix, or names what is not the client's: a backup of the search index, a picture
            of image search, an upload, a voice. 400 `INVALID_KEY`, naming `param`.
    """
    try:
        return _checked(key, prefix, settings)
    except InvalidKey as error:
        raise ApiError(400, f"{param}: {error}", code="INVALID_KEY", param=param) from None


def _checked(key: str, prefix: str, settings: Settings) -> str:
    check_key(key)
    shown = repr(key if len(key) <= 60 else f"{key[:57]}…")
    if not key.startswith(prefix):
        raise InvalidKey(f"{shown} is outside this route's part of the store; it must begin with {prefix!r}")
    # Some file systems, and people, do not tell A from a.
    folded = key.casefold()
    backup = settings.search.backup_key.casefold().rpartition("/")[2]
    if any(part.startswith(backup) for part in folded.split("/")):
        raise InvalidKey(f"{shown} names a backup of the search index; choose another")
    if folded.startswith(ROOM):
        raise InvalidKey(f"{shown} is among the uploads; choose another")
    if folded.startswith(VOICES):
        raise InvalidKey(f"{shown} is among the stored voices; choose another")
    if prefix != settings.voice_prefix != "" and folded.startswith(settings.voice_prefix.casefold()):
        raise InvalidKey(f"{shown} is among the recordings of voices; choose another")
    if _is_of_search(folded, settings.search.prefix.casefold()):
        raise InvalidKey(f"{shown} is among the pictures of image search; choose another")
    # In the embedded store an object of this name would be in the way of a folder.
    folders = (
        ROOM,
        VOICES,
        settings.search.prefix,
        settings.voice_prefix,
        f"{settings.image_prefix}{GENERATED}",
        f"{settings.voice_prefix}{SPOKEN}",
    )
    if any(folder.casefold().startswith(f"{folded}/") for folder in folders):
        raise InvalidKey(f"{shown} is a folder of the store; choose another")
    return key


def _is_of_search(key: str, prefix: str) -> bool:
    """Whether an object of image search has, or could have, this key (`{prefix}{project}/images/{id}`)."""
    if prefix:
        return key.startswith(prefix)
    return "/" not in key or key.split("/")[1] in ("images", "thumbnails")
