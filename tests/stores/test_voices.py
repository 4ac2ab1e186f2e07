"""Stored voices and consents."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stores.errors import ConsentInUse, KeyNotFound, NameTaken, NotFound
from stores.objects import FileStore, PublicStore, StoredObject
from stores.shared_postgres import SharedPostgres
from stores.voices import Voices
from tests.buckets import Bucket


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PublicStore:
    if request.param == "folder":
        return FileStore(tmp_path / "files")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store()


def test_a_voice_is_there_for_every_process_that_shares_the_store(store: PublicStore) -> None:
    ours, theirs = Voices(store), Voices(store)
    consent = ours.add_consent("Ann agrees", "en-US", b"I agree", ".mp3", "ann")
    voice = ours.add_voice("Ann", consent, b"a sample", "what is said", "ann")
    assert theirs.consents() == [consent]
    assert theirs.voices() == [voice]
    assert theirs.sample(voice) == b"a sample"
    theirs.rename_consent(consent, "Ann agreed")
    assert ours.consents()[0].name == "Ann agreed"
    theirs.remove_voice(voice)
    assert ours.voices() == []
    with pytest.raises(KeyNotFound):
        ours.sample(voice)


def test_nothing_is_left_of_what_was_removed(store: PublicStore) -> None:
    voices = Voices(store)
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".m4a", "")
    voice = voices.add_voice("Ann", consent, b"a sample", None, "")
    with pytest.raises(ConsentInUse, match=voice.id):
        voices.remove_consent(consent)
    voices.remove_voice(voice)
    voices.remove_consent(consent)
    assert list(store.keys()) == []


def test_a_voice_whose_consent_was_withdrawn_meanwhile_is_not_kept(store: PublicStore) -> None:
    voices = Voices(store)
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "")
    voices.remove_consent(consent)
    with pytest.raises(NotFound):
        voices.add_voice("Ann", consent, b"a sample", None, "")
    assert list(store.keys()) == []


def test_a_consent_that_is_renamed_after_it_was_withdrawn_does_not_come_back(store: PublicStore) -> None:
    voices = Voices(store)
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "")
    voices.remove_consent(consent)
    with pytest.raises(NotFound):
        voices.rename_consent(consent, "Ann agreed")
    assert list(store.keys()) == []


class InSeconds(FileStore):
    """A folder whose listing tells times in whole seconds, as S3's does."""

    def stat(self, key: str) -> StoredObject:
        found = super().stat(key)
        return replace(found, modified=float(int(found.modified)))


def test_a_new_name_is_known_at_once_however_soon_it_follows_the_old_one(tmp_path: Path) -> None:
    voices = Voices(InSeconds(tmp_path / "files"))
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "")
    for name in ("Bob agrees", "Ann agreed", "Bob agreed"):  # of one length, so that the size tells nothing
        assert len(voices.consents()) == 1
        consent = voices.rename_consent(consent, name)
        assert voices.consents() == [consent]


def test_of_voices_of_one_name_that_one_owner_makes_at_once_there_is_one(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    voices = Voices(store)
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "ann")

    def make(_: int) -> bool:
        try:
            voices.add_voice("Ann", consent, b"a sample", None, "ann")
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make, range(8))) == 1
    assert len(voices.voices()) == 1
    assert len(list(store.keys("voices/made/"))) == 2
    voices.add_voice("Ann", consent, b"a sample", None, "bob")
    assert len(voices.voices()) == 2


class Unlisted(FileStore):
    """A folder that is too large to be looked through."""

    def listing(self, prefix: str = "") -> Iterator[StoredObject]:
        raise AssertionError(f"{prefix} was listed")


def test_one_of_an_id_is_found_without_a_look_at_the_others(tmp_path: Path) -> None:
    voices = Voices(FileStore(tmp_path / "files"))
    consent = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "")
    voice = voices.add_voice("Ann", consent, b"a sample", None, "")
    there = Voices(Unlisted(tmp_path / "files"))
    assert there.voice(voice.id) == voice
    assert there.consent(consent.id) == consent
    for none in ("voice_0", consent.id, "voice_/../../x", "Ann", ""):
        assert there.voice(none) is None
    assert there.consent(voice.id) is None


def test_a_record_that_somebody_damaged_is_passed_over(store: PublicStore, caplog: pytest.LogCaptureFixture) -> None:
    voices = Voices(store)
    first = voices.add_consent("Ann agrees", "en", b"I agree", ".mp3", "")
    second = voices.add_consent("Bob agrees", "en", b"I agree", ".mp3", "")
    store.put(f"voices/consents/{first.id}.json", b'{"name": 1')
    assert voices.consents() == [second]
    assert first.id in caplog.text


def test_the_newest_comes_first_however_many_are_made_at_once(tmp_path: Path) -> None:
    voices = Voices(FileStore(tmp_path / "files"))
    threads = [
        threading.Thread(target=voices.add_consent, args=(str(number), "en", b"", ".mp3", "")) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = voices.add_consent("last", "en", b"", ".mp3", "")
    assert len(voices.consents()) == 17
    assert voices.consents()[0] == last


def test_of_two_servers_that_share_a_bucket_one_makes_a_voice_of_a_name(bucket: Bucket, database_url: str) -> None:
    database = SharedPostgres(database_url, contents="the voices")
    both = [Voices(bucket.store(), lambda: database.one_at_a_time("voices")) for _ in range(2)]
    consent = both[0].add_consent("Ann agrees", "en", b"I agree", ".mp3", "ann")

    def make(voices: Voices) -> bool:
        try:
            voices.add_voice("Ann", consent, b"a sample", None, "ann")
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, both * 3))
    assert made.count(True) == 1
    assert len(both[0].voices()) == 1
    database.close()
