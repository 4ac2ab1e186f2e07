"""API keys in a file: commands write it, the ingress reads it while it runs.

What is kept of a key is its SHA-256. Passwords need a slow function, since they can be guessed; a key is 256 random
bits, which no speed helps to guess, and a slow function would be paid for by every request.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stores.errors import NameTaken, NotFound, StoreUnusable
from stores.objects import sync_folder

KEY_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
_BEGINS: Final = "atl-"
"""So that people, and scanners for lost secrets, see what it is."""


def _rate(text: str) -> str:
    from limits import parse_many  # 0.1 s to import, which only those pay for who set a rate

    try:
        (rate,) = parse_many(text)
        is_one = rate.amount > 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("a number of requests in a second, minute, hour or day is needed, such as 60/minute")
    return text


class Limits(BaseModel):
    """How much a caller may ask for; what is None is set elsewhere, or not limited at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: Annotated[str, AfterValidator(_rate)] | None = Field(
        None, description="requests in a time, such as 60/minute or 10 per 5 seconds"
    )
    concurrency: int | None = Field(None, ge=1, description="requests under way at once")

    def over(self, others: Limits) -> Limits:
        """These, and the others' where these say nothing."""
        return Limits(rate=self.rate or others.rate, concurrency=self.concurrency or others.concurrency)


class ApiKey(BaseModel):
    """What is known of a key: everything but the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=KEY_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    admin: bool = False
    limits: Limits = Limits()
    created_at: int
    """Epoch seconds."""


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: list[ApiKey]


def digest_of(key: str) -> str:
    """What is kept of a key: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys(Protocol):
    """Where keys are kept: a file (`ApiKeyFile`) or a database (`stores.api_key_table`). Methods raise `StoreError`."""

    @property
    def place(self) -> str:
        """What people call it: the file's path, or the database."""

    def state(self) -> object:
        """What is another after each change."""

    def read(self) -> tuple[ApiKey, ...] | None:
        """The keys, in the order in which they were added; None while there was never any."""

    def add(self, name: str, limits: Limits, *, admin: bool = False) -> str:
        """A new key, which is shown this once and never again. Raises `NameTaken`."""

    def revoke(self, name: str) -> int:
        """Forget a key; how many are left. Raises `NotFound`."""

    def close(self) -> None:
        """Close what was opened."""


def new_key() -> str:
    """A key of 256 random bits."""
    return f"{_BEGINS}{secrets.token_urlsafe(32)}"


class ApiKeyFile:
    """The keys of one file. Any number of processes may read it while one changes it; those who change it take turns.

    Raises:
        StoreUnusable: the file is damaged, or cannot be read or written; one line that names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.path)

    def state(self) -> tuple[int, ...] | None:
        """What is another after each change, at the cost of looking at the folder; None while there is no file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return (error.errno or 0,)
        # Of the two times, only the second tells of a change of permissions, and that a replaced file is another.
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self) -> tuple[ApiKey, ...] | None:
        """The keys, in the order in which they were added; None while there is no file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnusable(f"the file of API keys {self.path} cannot be read: {error.strerror}") from None
        try:
            return tuple(_Content.model_validate_json(content).keys)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            said = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise StoreUnusable(
                f"the file of API keys {self.path} is damaged ({said}); mend it, or put an earlier copy in its place"
            ) from None

    def add(self, name: str, limits: Limits, *, admin: bool = False) -> str:
        """A new key, which is shown this once and never again.

        Raises:
            NameTaken: there is a key of this name.
        """
        key = new_key()
        with self._changing() as keys:
            if any(each.name == name for each in keys):
                raise NameTaken(f"there is a key of the name {name!r} already; choose another, or revoke it first")
            made = ApiKey(name=name, sha256=digest_of(key), admin=admin, limits=limits, created_at=int(time.time()))
            keys.append(made)
        return key

    def revoke(self, name: str) -> int:
        """Forget a key; how many are left. The file stays, and with it the server closed.

        Raises:
            NotFound: there is no key of this name.
        """
        with self._changing() as keys:
            left = [each for each in keys if each.name != name]
            if len(left) == len(keys):
                names = ", ".join(each.name for each in keys) or "none"
                raise NotFound(f"there is no key of the name {name!r}; there are: {names}")
            keys[:] = left
        return len(left)

    def close(self) -> None:
        """Nothing: no file stays open."""

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """The keys, to be changed in place; they are written at the end, unless something is raised."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # as the server makes it
            # A file of its own: the other one is replaced, and who waits for its lock would then hold an old one's.
            with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = list(self.read() or ())
                yield keys
                self._replace(_Content(keys=keys))
        except OSError as error:
            raise StoreUnusable(f"the file of API keys {self.path} cannot be written: {error.strerror}") from None

    def _replace(self, content: _Content) -> None:
        draft = self.path.with_name(f"{self.path.name}.draft")
        draft.unlink(missing_ok=True)  # of a command that was killed
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(content.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.path.parent)  # a key that was revoked must not come back with the power
