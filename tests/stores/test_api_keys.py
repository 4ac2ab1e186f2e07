"""The file of keys: what it says and hides, who may read it, and that no change is lost or seen half done."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from stores.api_keys import ApiKeyFile, Limits, digest_of
from stores.errors import NameTaken, NotFound, StoreUnusable


@pytest.fixture
def file(tmp_path: Path) -> ApiKeyFile:
    return ApiKeyFile(tmp_path / "home" / "keys.json")


def one_key(**fields: object) -> str:
    return json.dumps({"keys": [{"name": "a", "sha256": digest_of("a"), "created_at": 1, **fields}]})


def test_a_key_is_random_and_its_digest_is_all_that_is_kept(file: ApiKeyFile) -> None:
    first, second = file.add("first", Limits()), file.add("second", Limits(rate="60/minute", concurrency=2), admin=True)
    assert first.startswith("atl-")
    assert len(first) == len("atl-") + 43
    assert first != second
    kept = file.path.read_text()
    assert first not in kept
    assert second[4:] not in kept
    one, two = file.read() or ()
    assert (one.name, one.sha256, one.admin, one.limits) == ("first", digest_of(first), False, Limits())
    assert (two.name, two.sha256, two.admin) == ("second", digest_of(second), True)
    assert two.limits == Limits(rate="60/minute", concurrency=2)


def test_only_its_owner_may_read_it_whatever_the_file_before_allowed(file: ApiKeyFile) -> None:
    file.add("first", Limits())
    file.path.chmod(0o644)
    file.add("second", Limits())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_name_is_given_once_and_a_revoked_one_again(file: ApiKeyFile) -> None:
    key = file.add("phone", Limits())
    with pytest.raises(NameTaken, match="'phone' already"):
        file.add("phone", Limits())
    assert file.revoke("phone") == 0
    assert file.read() == ()
    assert file.add("phone", Limits()) != key


def test_what_is_not_there_cannot_be_revoked_and_what_is_there_is_named(file: ApiKeyFile) -> None:
    with pytest.raises(NotFound, match="'phone'; there are: none"):
        file.revoke("phone")
    assert file.read() is None
    file.add("tablet", Limits())
    with pytest.raises(NotFound, match="'phone'; there are: tablet"):
        file.revoke("phone")


def test_of_many_changes_at_once_none_is_lost_and_who_reads_meanwhile_reads_whole_files(file: ApiKeyFile) -> None:
    file.add("first", Limits())
    names = [f"key-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        changes = [threads.submit(ApiKeyFile(file.path).add, name, Limits()) for name in names]
        while not all(change.done() for change in changes):
            assert (file.read() or ())[0].name == "first"
    assert len({change.result() for change in changes}) == 40
    assert {key.name for key in file.read() or ()} == {"first", *names}


def test_its_state_is_another_after_every_change(file: ApiKeyFile) -> None:
    states = [file.state()]
    file.add("first", Limits())
    states.append(file.state())
    file.revoke("first")
    states.append(file.state())
    file.path.chmod(0o400)
    states.append(file.state())
    assert states[0] is None
    assert len(set(states)) == 4
    assert file.state() == states[-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Invalid JSON: "),
        ('{"version": 1, "keys": [', "Invalid JSON: "),
        ("\udcff", "Invalid JSON: "),
        ("[]", "Input should be an object"),
        ('{"keys": [], "version": 2}', "version: Input should be 1"),
        (one_key(sha256="short"), "keys.0.sha256: "),
        (one_key(scope="x"), "keys.0.scope: Extra"),
        (one_key(limits={"rate": "x"}), "keys.0.limits.rate: Value error, a number of requests"),
    ],
)
def test_a_damaged_file_is_named_in_one_line_and_never_written_over(file: ApiKeyFile, content: str, said: str) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content.encode(errors="surrogateescape"))
    before = file.path.read_bytes()
    for use in (file.read, lambda: file.add("new", Limits()), lambda: file.revoke("a")):
        with pytest.raises(StoreUnusable) as refused:
            use()
        assert str(refused.value).startswith(f"the file of API keys {file.path} is damaged ({said}")
        assert "\n" not in str(refused.value)
    assert file.path.read_bytes() == before


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreUnusable, match=r"keys\.json cannot be written: (File exists|Not a directory)"):
        ApiKeyFile(tmp_path / "home" / "keys.json").add("first", Limits())


def test_what_a_killed_command_left_is_in_nobodys_way(file: ApiKeyFile) -> None:
    file.add("first", Limits())
    file.path.with_name("keys.json.draft").write_text("half of a fi")
    file.add("second", Limits())
    assert json.loads(file.path.read_text())["keys"][1]["name"] == "second"
    assert not file.path.with_name("keys.json.draft").exists()


@pytest.mark.parametrize("rate", ["60/minute", "1000 per hour", "10 per 5 seconds", "1/day"])
def test_a_rate_is_a_number_of_requests_in_a_time(rate: str) -> None:
    assert Limits(rate=rate).rate == rate


@pytest.mark.parametrize("rate", ["", "often", "0/minute", "-1/minute", "60", "60/fortnight", "60/minute; 5/second"])
def test_what_is_no_rate_is_refused_with_an_example(rate: str) -> None:
    with pytest.raises(ValidationError, match="such as 60/minute"):
        Limits(rate=rate)


def test_limits_of_a_key_go_before_those_of_all() -> None:
    assert Limits(rate="1/day").over(Limits(rate="60/minute", concurrency=4)) == Limits(rate="1/day", concurrency=4)
