"""The page of a server that has keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.servers import Server, start_server


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets in a user and an admin by their keys."""
    off = {"IMAGE_SEARCH_ENABLED": "0", "VOICE_ENABLED": "0", "ATELIER_DASHBOARD": "0"}
    keys = {"ATELIER_API_KEYS": "user-key", "ATELIER_ADMIN_KEYS": "admin-key"}
    home: Path = tmp_path_factory.mktemp("atelier")
    started = start_server(home, None, **off, **keys)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


def test_the_page_asks_for_a_key_until_it_is_right_and_says_what_it_does_not_open(
    context: BrowserContext, closed: Server
) -> None:
    page = context.new_page()
    page.goto(closed.url)
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("This server asks for a key.")
    dialog.get_by_label("API key").fill("another-key")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_contain_text("does not know this key")
    dialog.get_by_label("API key").fill("user-key")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_be_hidden()
    page.click("nav a[href='#system']")
    page.get_by_role("button", name="Load").first.click()
    expect(page.get_by_role("alert")).to_contain_text("admin scope")
    kept = page.evaluate("[localStorage.length, sessionStorage.getItem('atelier-key')]")
    assert kept == [0, "user-key"]
