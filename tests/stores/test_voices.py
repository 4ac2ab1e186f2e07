"""Stored voices and consents."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stores.errors import ConsentInUse, KeyNotFound, NotFound
from stores.objects import FileStore, PublicStore
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
