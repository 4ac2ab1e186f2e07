"""Voices that callers made, and the consents of the people whose voices they are, as objects of the store.

Each is a small JSON object with a sound beside it. The sound comes first and goes last, so a record that can be read
has its sound. Records are read again where the store's listing says that they changed, so several processes may share
a store.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar

from stores.errors import ConsentInUse, KeyNotFound, NameTaken, NotFound
from stores.objects import PublicStore, StoredObject

logger = logging.getLogger("ray.serve")

ROOM: Final = "voices/"
"""Everything that is kept here; no client may choose a key in it."""
_VOICES: Final = f"{ROOM}made/"
_CONSENTS: Final = f"{ROOM}consents/"
_VOICE_ID: Final = "voice_"
_CONSENT_ID: Final = "cons_"
_ID: Final = re.compile(rf"({_VOICE_ID}|{_CONSENT_ID})[0-9a-f]{{35}}")


@dataclass(frozen=True)
class Consent:
    """Somebody's recorded agreement that their voice is used."""

    id: str
    name: str
    language: str
    """BCP 47."""
    created_at: int
    """Epoch seconds."""
    owner: str
    """Who may see it; empty: everybody."""


@dataclass(frozen=True)
class StoredVoice:
    """A voice made of a sample."""

    id: str
    name: str
    consent: str
    """Id of the consent that it rests on."""
    created_at: int
    owner: str
    text: str | None = None
    """What is said in the sample."""


R = TypeVar("R", Consent, StoredVoice)


class Voices:
    """The voices and consents of a store. One instance may be used by many threads.

    What depends on what else is there happens within `one_at_a_time`, of which processes that share the store need one
    for all of them; without, threads of this instance take turns.
    """

    def __init__(
        self, store: PublicStore, one_at_a_time: Callable[[], AbstractContextManager[Any]] | None = None
    ) -> None:
        self._store = store
        lock = threading.Lock()
        self._one_at_a_time = one_at_a_time or (lambda: lock)
        self._known: dict[str, tuple[StoredObject, Consent | StoredVoice | None]] = {}

    def add_consent(self, name: str, language: str, recording: bytes, suffix: str, owner: str) -> Consent:
        """Keep a consent and its recording as it came; `suffix` is that of its kind (`.mp3`)."""
        consent = Consent(_new_id(_CONSENT_ID), name, language, int(time.time()), owner)
        self._store.put(f"{_CONSENTS}{consent.id}{suffix}", recording)
        self._put(_CONSENTS, consent)
        return consent

    def consents(self) -> list[Consent]:
        """All of them, newest first."""
        return self._all(_CONSENTS, Consent)

    def consent(self, consent_id: str) -> Consent | None:
        """The one of an id."""
        return self._one(_CONSENTS, consent_id, Consent)

    def rename_consent(self, consent: Consent, name: str) -> Consent:
        """The consent under another name.

        Raises:
            NotFound: it was removed meanwhile.
        """
        renamed = replace(consent, name=name)
        with self._one_at_a_time():
            self._require(consent)
            self._put(_CONSENTS, renamed)
        return renamed

    def remove_consent(self, consent: Consent) -> None:
        """Forget a consent and its recording.

        Raises:
            ConsentInUse: voices rest on it; the message names them.
        """
        with self._one_at_a_time():
            if resting := [voice.id for voice in self.voices() if voice.consent == consent.id]:
                raise ConsentInUse(f"voices rest on this consent; delete them first: {', '.join(resting)}")
            self._remove(_CONSENTS, consent.id)

    def add_voice(self, name: str, consent: Consent, sample: bytes, text: str | None, owner: str) -> StoredVoice:
        """Keep a voice and its sample, a FLAC file.

        Raises:
            NotFound: the consent was removed meanwhile.
            NameTaken: the owner has a voice of this name.
        """
        voice = StoredVoice(_new_id(_VOICE_ID), name, consent.id, int(time.time()), owner, text)
        with self._one_at_a_time():
            self._require(consent)
            if any((each.name, each.owner) == (name, owner) for each in self.voices()):
                raise NameTaken(f"there is a voice {name!r} already")
            self._store.put(f"{_VOICES}{voice.id}.flac", sample)
            self._put(_VOICES, voice)
        return voice

    def voices(self) -> list[StoredVoice]:
        """All of them, newest first."""
        return self._all(_VOICES, StoredVoice)

    def voice(self, voice_id: str) -> StoredVoice | None:
        """The one of an id."""
        return self._one(_VOICES, voice_id, StoredVoice)

    def sample(self, voice: StoredVoice) -> bytes:
        """The voice's sample, FLAC. Raises `KeyNotFound` when it was removed."""
        return self._store.get(f"{_VOICES}{voice.id}.flac")

    def remove_voice(self, voice: StoredVoice) -> None:
        """Forget a voice and its sample."""
        self._remove(_VOICES, voice.id)

    def _require(self, consent: Consent) -> None:
        if not self._store.exists(f"{_CONSENTS}{consent.id}.json"):
            raise NotFound("the consent is gone")

    def _put(self, folder: str, record: Consent | StoredVoice) -> None:
        key = f"{folder}{record.id}.json"
        self._store.put(key, json.dumps(asdict(record), ensure_ascii=False).encode())
        self._known.pop(key, None)  # a bucket's listing tells two changes within a second not apart

    def _remove(self, folder: str, name: str) -> None:
        self._store.delete(f"{folder}{name}.json")
        self._known.pop(f"{folder}{name}.json", None)
        for key in list(self._store.keys(f"{folder}{name}.")):
            self._store.delete(key)

    def _one(self, folder: str, name: str, kind: type[R]) -> R | None:
        """The record of an id, read without a look at the others."""
        record = self._record(f"{folder}{name}.json") if _ID.fullmatch(name) else None
        return record if isinstance(record, kind) else None

    def _all(self, folder: str, kind: type[R]) -> list[R]:
        """The readable records of a folder. Ids begin with their time, so that the last key is the newest."""
        listed = [each for each in self._store.listing(folder) if each.key.endswith(".json")]
        return [record for record in self._read(reversed(listed)) if isinstance(record, kind)]

    def _read(self, listed: Iterator[StoredObject]) -> Iterator[Consent | StoredVoice | None]:
        for each in listed:
            known = self._known.get(each.key)
            if known is None or known[0] != each:
                known = self._known[each.key] = (each, self._record(each.key))
            yield known[1]

    def _record(self, key: str) -> Consent | StoredVoice | None:
        """The record of a key; None when it has just gone, or was damaged by a person."""
        kind = Consent if key.startswith(_CONSENTS) else StoredVoice
        try:
            return kind(**json.loads(self._store.get(key)))
        except KeyNotFound:
            return None
        except (ValueError, TypeError) as error:
            logger.error("%s is not a record of a voice or consent, and is passed over: %s", key, error)
            return None


def is_voice_id(name: str) -> bool:
    """Whether a name is that of a stored voice, there or not."""
    return name.startswith(_VOICE_ID)


def _new_id(prefix: str) -> str:
    """Sorted by time; nobody guesses the rest."""
    return f"{prefix}{time.time_ns() // 1000:015x}{secrets.token_hex(10)}"
