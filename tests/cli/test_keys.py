"""`atelier keys`: what it prints where, and in which words it refuses."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.keys import app
from stores.api_key_table import open_table
from stores.api_keys import ApiKeyFile, Limits, digest_of


def keys(home: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"ATELIER_HOME": str(home), **environ})


def test_a_key_is_printed_alone_and_only_when_it_is_made(tmp_path: Path) -> None:
    made = keys(tmp_path, "add", "phone", "--rate", "60/minute", "--concurrency", "2")
    assert made.exit_code == 0
    assert re.fullmatch(r"atl-[\w-]{43}\n", made.stdout)
    (kept,) = ApiKeyFile(tmp_path / "keys.json").read() or ()
    assert (kept.sha256, kept.limits) == (digest_of(made.stdout.strip()), Limits(rate="60/minute", concurrency=2))
    listed = keys(tmp_path, "list")
    assert listed.exit_code == 0
    assert re.search(r"^phone +user +60/minute +2 +20", listed.stdout, re.MULTILINE)
    assert made.stdout.strip() not in listed.output
    assert kept.sha256 not in listed.output


def test_the_first_key_says_that_it_closes_the_server_and_the_next_does_not(tmp_path: Path) -> None:
    assert "lets in nobody without a key" in keys(tmp_path, "add", "first").stderr
    assert keys(tmp_path, "add", "second", "--admin").stderr == ""
    assert re.search(r"^second +admin +the server's +the server's ", keys(tmp_path, "list").stdout, re.MULTILINE)


def test_the_last_key_that_is_revoked_leaves_the_server_closed_and_says_so(tmp_path: Path) -> None:
    for name in ("first", "last"):
        keys(tmp_path, "add", name)
    assert keys(tmp_path, "revoke", "first").stderr == "first is revoked\n"
    assert "the server stays closed" in keys(tmp_path, "revoke", "last").stderr
    assert ApiKeyFile(tmp_path / "keys.json").read() == ()
    assert keys(tmp_path, "list").stderr == f"{tmp_path / 'keys.json'} has no keys\n"


def test_where_no_key_was_ever_made_the_list_says_where_it_looked(tmp_path: Path) -> None:
    assert keys(tmp_path, "list").stderr == f"there is no {tmp_path / 'keys.json'}\n"


def test_the_file_may_lie_elsewhere(tmp_path: Path) -> None:
    assert keys(tmp_path / "home", "add", "phone", ATELIER_KEYS_FILE=str(tmp_path / "own.json")).exit_code == 0
    assert (tmp_path / "own.json").exists()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "taken"], "there is a key of the name 'taken' already; choose another, or revoke it first"),
        (["add", "two words"], "NAME: 'two words': 1 to 64 letters, digits and . _ @ - are needed"),
        (["add", "x", "--rate", "often"], "--rate: 'often': a number of requests in a second, minute, hour or day"),
        (["revoke", "nobody"], "there is no key of the name 'nobody'; there are: taken"),
        (["list", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    keys(tmp_path, "add", "taken")
    before = (tmp_path / "keys.json").read_bytes()
    refused = keys(tmp_path, *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"atelier: {said}")
    assert refused.stderr.count("\n") == 1
    assert (tmp_path / "keys.json").read_bytes() == before


def test_a_damaged_file_ends_every_command_and_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    for command in (["add", "x"], ["list"], ["revoke", "x"]):
        refused = keys(tmp_path, *command)
        assert refused.exit_code == 1
        assert refused.stderr.startswith(f"atelier: the file of API keys {tmp_path / 'keys.json'} is damaged (")
    assert (tmp_path / "keys.json").read_text() == "{"


def shared(database_url: str) -> dict[str, str]:
    """The environment of a server of two ingress replicas; commands for keys ask its PostgreSQL only."""
    bucket = {"R2_ENABLED": "1", "R2_ENDPOINT_URL": "http://127.0.0.1:9", "R2_BUCKET_NAME": "b"}
    secrets = {"R2_ACCESS_KEY_ID": "an-id", "R2_SECRET_ACCESS_KEY": "a-secret"}
    redis = {"REDIS_URL": "redis://127.0.0.1:9/0", "ATELIER_INGRESS_REPLICAS": "2"}
    return {**bucket, **secrets, **redis, "SEARCH_DATABASE_URL": database_url}


def test_keys_of_several_ingress_replicas_are_in_their_database(tmp_path: Path, database_url: str) -> None:
    environ = shared(database_url)
    assert keys(tmp_path, "list", **environ).stderr == "the database has no keys\n"
    made = keys(tmp_path, "add", "phone", "--rate", "60/minute", **environ)
    assert re.fullmatch(r"atl-[\w-]{43}\n", made.stdout)
    assert "lets in nobody without a key" in made.stderr
    assert keys(tmp_path, "add", "tablet", "--admin", "--concurrency", "2", **environ).stderr == ""
    listed = keys(tmp_path / "of another machine", "list", **environ).stdout
    assert re.search(r"^phone +user +60/minute +the server's +20", listed, re.MULTILINE)
    assert re.search(r"^tablet +admin +the server's +2 +20", listed, re.MULTILINE)
    assert "there is a key of the name 'phone' already" in keys(tmp_path, "add", "phone", **environ).stderr
    assert "there are: phone, tablet" in keys(tmp_path, "revoke", "nobody", **environ).stderr
    assert keys(tmp_path, "revoke", "phone", **environ).stderr == "phone is revoked\n"
    assert "the server stays closed" in keys(tmp_path, "revoke", "tablet", **environ).stderr
    assert not (tmp_path / "keys.json").exists()


def test_keys_of_a_file_are_moved_into_the_database_whole_or_not_at_all(tmp_path: Path, database_url: str) -> None:
    environ = shared(database_url)
    key = keys(tmp_path, "add", "phone", "--rate", "60/minute").stdout.strip()
    keys(tmp_path, "add", "tablet")
    keys(tmp_path, "add", "tablet", **environ)
    refused = keys(tmp_path, "move", **environ)
    assert refused.stderr == "atelier: the database has other keys of these names: tablet; revoke them first\n"
    assert [each.name for each in ApiKeyFile(tmp_path / "keys.json").read() or ()] == ["phone", "tablet"]
    keys(tmp_path, "revoke", "tablet", **environ)
    assert keys(tmp_path, "move", **environ).stderr == "2 keys moved; the file is keys.json.moved now\n"
    with closing(open_table(database_url)) as table:
        moved = table.read() or ()
    assert [(each.name, each.limits.rate) for each in moved] == [("phone", "60/minute"), ("tablet", None)]
    assert moved[0].sha256 == digest_of(key)
    assert keys(tmp_path, "move", **environ).stderr == f"atelier: there is no {tmp_path / 'keys.json'}\n"
    assert "keys stay in their file; allowed: 2 or more" in keys(tmp_path, "move").stderr


def test_a_database_that_is_away_ends_a_command_in_one_line(tmp_path: Path) -> None:
    refused = keys(tmp_path, "list", **shared("postgresql://127.0.0.1:9/atelier"))
    assert (refused.exit_code, refused.stderr) == (1, "atelier: the database of the API keys does not answer\n")
