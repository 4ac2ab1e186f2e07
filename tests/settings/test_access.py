"""Keys, limits and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings
from stores.api_keys import Limits
from tests.settings.mistakes import MINIMAL, mistake


def test_keys_are_split_at_commas_joined_with_the_older_variables_and_never_shown() -> None:
    loaded = settings.validate(MINIMAL, {"ATELIER_API_KEYS": "one, two", "GATEWAY_API_KEY": "three", "API_KEY": "four"})
    assert [key.get_secret_value() for key in loaded.api_keys] == ["one", "two", "three"]
    assert [key.get_secret_value() for key in loaded.admin_keys] == ["four"]
    assert "three" not in repr(loaded)


def test_the_bearer_token_is_never_shown() -> None:
    assert "a-token" not in repr(settings.validate(MINIMAL, {"BEARER_TOKEN": "a-token"}))
    assert mistake({**MINIMAL, "bearer_token": 12345}) == "bearer_token: input should be a valid string"


def test_an_empty_key_would_let_everybody_in_and_is_refused() -> None:
    assert mistake({**MINIMAL, "api_keys": [""]}).startswith("api_keys.0: ")


@pytest.mark.parametrize(
    "variable", ["ATELIER_API_KEYS", "ATELIER_ADMIN_KEYS", "GATEWAY_API_KEY", "API_KEY", "BEARER_TOKEN"]
)
@pytest.mark.parametrize("others", [{}, {"GATEWAY_API_KEY": "one", "API_KEY": "two"}])
def test_a_blank_key_would_let_everybody_in_and_is_refused(variable: str, others: dict[str, str]) -> None:
    text = mistake(MINIMAL, {**others, variable: "  "})
    assert f" (from {variable}): a key is needed, and this one is blank" in text


@pytest.mark.parametrize("variable", ["ATELIER_API_KEYS", "ATELIER_ADMIN_KEYS"])
def test_a_list_of_keys_with_none_in_it_is_refused(variable: str) -> None:
    for others in ({}, {"GATEWAY_API_KEY": "one", "API_KEY": "two"}):
        assert f" (from {variable}): a key is needed" in mistake(MINIMAL, {variable: " , ", **others})
    assert mistake({**MINIMAL, "api_keys": ","}).startswith("api_keys.0: a key is needed")
    assert settings.validate(MINIMAL, {variable: "one,"}) != settings.validate(MINIMAL, {})


def test_spaces_around_a_key_are_not_part_of_it() -> None:
    (key,) = settings.validate(MINIMAL, {"API_KEY": " four\n"}).admin_keys
    assert key.get_secret_value() == "four"


def test_keys_are_kept_in_the_home_folder_unless_another_file_is_named() -> None:
    assert settings.validate(MINIMAL, {"ATELIER_HOME": "/srv/atelier"}).keys_path == Path("/srv/atelier/keys.json")
    assert settings.validate(MINIMAL, {"ATELIER_KEYS_FILE": "~/own.json"}).keys_path == Path.home() / "own.json"


def test_nothing_is_limited_unless_it_is_set_in_the_file_or_the_environment() -> None:
    assert settings.validate(MINIMAL, {}).limits == Limits()
    args = {**MINIMAL, "limits": {"rate": "60/minute", "concurrency": 4}}
    assert settings.validate(args, {"ATELIER_RATE": "5/second"}).limits == Limits(rate="5/second", concurrency=4)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "ATELIER_RATE",
            "often",
            "limits.rate (from ATELIER_RATE): 'often': a number of requests in a second, minute,",
        ),
        ("ATELIER_CONCURRENCY", "0", "limits.concurrency (from ATELIER_CONCURRENCY): '0': input should be greater"),
    ],
)
def test_a_limit_that_is_none_is_named_with_what_is_allowed(variable: str, value: str, said: str) -> None:
    assert mistake(MINIMAL, {variable: value}).startswith(said)
