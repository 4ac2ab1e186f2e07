"""Objects: bytes under keys, in a folder of this machine.

A key is a relative path with `/` between its parts, as in S3. The embedded store keeps it as the file of that path;
`stores.s3` keeps the same keys in a bucket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol
from urllib.parse import quote, urlencode

from stores.errors import InvalidKey, KeyNotFound, StoreError, StoreFull, StoreUnusable

MAX_KEY_BYTES: Final = 1024
"""S3's own limit."""
_MAX_PART_BYTES: Final = 255
_INCOMING: Final = ".incoming"
_ABANDONED_AFTER_SECONDS: Final = 3600
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_SHOWN: Final = {
    ".bmp": "image/bmp",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".webp": "image/webp",
}


def shown_type(key: str) -> str | None:
    """The media type as which a browser may show an object of that key; None: a download, as SVG and HTML must be."""
    return _SHOWN.get(PurePosixPath(key).suffix.lower())


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of an object."""

    key: str
    size: int
    modified: float
    """Epoch seconds of its last `put`."""


class ObjectStore(Protocol):
    """Where objects are. Every method raises `InvalidKey` for a key that `check_key` refuses."""

    def put(self, key: str, content: bytes) -> None:
        """Store the object durably, replacing one of that key; readers see the old bytes or the new, never a mixture.

        Raises:
            StoreFull: no room; what was there before is untouched.
        """

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises `KeyNotFound`."""

    def open(self, key: str) -> BinaryIO:
        """The object for reading, at its start. Raises `KeyNotFound`."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted."""


class PublicStore(ObjectStore, Protocol):
    """An object store whose objects can be handed out. An outside one also raises `UploadFailed`, `DownloadFailed`."""

    def put_file(self, key: str, file: BinaryIO) -> None:
        """`put` of what is left in a file, which is never in memory as a whole."""

    def stat(self, key: str) -> StoredObject:
        """What a listing says of the object. Raises `KeyNotFound`."""

    def listing(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, sorted by key."""

    def link(self, key: str, seconds: int) -> str:
        """A URL that gives the object to anybody for `seconds`; one that begins with `/` is of this server."""


def check_key(key: str) -> tuple[str, ...]:
    """The parts of a key.

    Raises:
        InvalidKey: empty, absolute, with an empty part, `.`, `..`, a backslash or a control character, or too long.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey("the key is not valid Unicode") from error
    if not 1 <= len(encoded) <= MAX_KEY_BYTES:
        raise InvalidKey(f"the key has {len(encoded)} bytes; 1 to {MAX_KEY_BYTES} are allowed")
    if any(character == "\\" or unicodedata.category(character) == "Cc" for character in key):
        raise InvalidKey("the key contains a backslash or a control character")
    parts = tuple(key.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidKey("the key must be a relative path without empty parts, '.' and '..'")
    if parts[0].casefold() == _INCOMING:
        raise InvalidKey(f"keys under {_INCOMING!r} are reserved")
    if any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise InvalidKey(f"a part of the key is longer than {_MAX_PART_BYTES} bytes")
    return parts


class FileStore:
    """The embedded object store: a folder, safe to open from several processes at once.

    URLs are signed with a secret that is made once and kept beside the folder, so that every process verifies what
    any of them signed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._secret = _shared_secret(folder.parent / f"{folder.name}.signing-key")
        except OSError as error:
            raise StoreUnusable(f"the object folder {folder} cannot be used: {error.strerror}") from error
        self._remove_abandoned()

    def put(self, key: str, content: bytes) -> None:
        """Store the object durably; see `ObjectStore.put`."""
        self._put(key, lambda file: file.write(content))

    def put_file(self, key: str, file: BinaryIO) -> None:
        """Store what is left in the file; see `PublicStore.put_file`."""
        self._put(key, lambda target: shutil.copyfileobj(file, target))

    def _put(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        target = self._folder.joinpath(*check_key(key))
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            self._move_in(temporary, target)
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise InvalidKey("a part of the key is an object already, or the key is a folder of objects") from error
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull("the disk of the object store is full") from error
            raise StoreError("the object could not be written") from error
        finally:
            temporary.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises `KeyNotFound`."""
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """The object for reading. Raises `KeyNotFound`."""
        try:
            return self.path(key).open("rb")
        except FileNotFoundError:  # deleted since
            raise KeyNotFound("there is no object of that key") from None

    def path(self, key: str) -> Path:
        """The file that holds the object, for serving ranges of it. Raises `KeyNotFound`."""
        path = self._folder.joinpath(*check_key(key))
        if not path.is_file():
            raise KeyNotFound("there is no object of that key")
        return path

    def delete(self, key: str) -> None:
        """Remove the object and the folders it leaves empty; see `ObjectStore.delete`."""
        path = self._folder.joinpath(*check_key(key))
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            # Linux and macOS answer differently to unlinking a folder; a folder is not an object.
            if path.is_dir():
                return
            raise StoreError("the object could not be deleted") from error
        with (
            self._folders_locked(fcntl.LOCK_EX),
            contextlib.suppress(OSError),
        ):  # suppressed: a folder not empty, or gone
            for folder in path.relative_to(self._folder).parents:
                if folder.name:
                    (self._folder / folder).rmdir()

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        return self._folder.joinpath(*check_key(key)).is_file()

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted."""
        start = prefix.rpartition("/")[0]
        folder = self._folder.joinpath(*check_key(start)) if start else self._folder
        found = []
        for parent, folders, names in os.walk(folder):
            here = Path(parent).relative_to(self._folder)
            if not here.parts:
                folders.remove(_INCOMING)
            found += [(here / name).as_posix() for name in names]
        yield from sorted(key for key in found if key.startswith(prefix))

    def stat(self, key: str) -> StoredObject:
        """What a listing says of the object. Raises `KeyNotFound`."""
        try:
            found = self.path(key).stat()
        except FileNotFoundError:  # deleted since
            raise KeyNotFound("there is no object of that key") from None
        return StoredObject(key, found.st_size, found.st_mtime)

    def listing(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, sorted by key."""
        for key in self.keys(prefix):
            with contextlib.suppress(KeyNotFound):  # deleted since
                yield self.stat(key)

    def link(self, key: str, seconds: int) -> str:
        """The path and query under which the ingress gives the object to anybody for `seconds`."""
        check_key(key)
        return f"/files/{quote(key)}?{self.sign(key, int(time.time()) + seconds)}"

    def sign(self, key: str, expires_at: int) -> str:
        """The query `expires=…&signature=…` that opens `key` until the epoch second `expires_at`."""
        return urlencode({"expires": expires_at, "signature": self._signature(key, expires_at)})

    def verify(self, key: str, expires: str, signature: str, now: float | None = None) -> bool:
        """Whether `sign` gave these values for this key and they have not expired."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        genuine = hmac.compare_digest(self._signature(key, int(expires)).encode(), signature.encode(errors="replace"))
        return genuine and (time.time() if now is None else now) < int(expires)

    def _signature(self, key: str, expires_at: int) -> str:
        return hmac.new(self._secret, f"{expires_at}\n{key}".encode(errors="replace"), hashlib.sha256).hexdigest()

    def _move_in(self, temporary: Path, target: Path) -> None:
        with self._folders_locked(fcntl.LOCK_SH):
            made = _make_folders(target.parent)
            temporary.replace(target)
            for folder in {target.parent, *(folder.parent for folder in made)}:
                sync_folder(folder)

    @contextlib.contextmanager
    def _folders_locked(self, how: int) -> Iterator[None]:
        """Shared while an object moves into its folder, exclusive while empty folders are removed."""
        descriptor = os.open(self._incoming, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _remove_abandoned(self) -> None:
        # A killed process leaves its temporary file; a young one may belong to a writer that lives.
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _ABANDONED_AFTER_SECONDS:
                    path.unlink()


def _make_folders(folder: Path) -> list[Path]:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable: files that were made in it, moved or removed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shared_secret(path: Path) -> bytes:
    """The secret in the file, made there first if need be; of several processes that try at once, one makes it."""
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        sync_folder(path.parent)
    path.chmod(0o600)
    secret = path.read_bytes()
    if len(secret) != 32:
        raise StoreUnusable(f"{path} is not a signing key of 32 bytes; remove it to have a new one made")
    return secret
