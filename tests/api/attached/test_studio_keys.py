"""The page of a server that has keys."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, expect

from tests.api.attached.conftest import KEYS
from tests.servers import Server
from tests.studio.conftest import browser, context

__all__ = ["browser", "context"]


def test_the_page_asks_for_a_key_until_it_is_right_and_says_what_it_does_not_open(
    context: BrowserContext, attached: Server
) -> None:
    key = KEYS["ATELIER_API_KEYS"]
    page = context.new_page()
    page.goto(attached.url)
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("This server asks for a key.")
    dialog.get_by_label("API key").fill("another-key")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_contain_text("does not know this key")
    dialog.get_by_label("API key").fill(key)
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_be_hidden()
    page.click("nav a[href='#system']")
    page.get_by_role("button", name="Load", exact=True).first.click()
    expect(page.get_by_role("alert")).to_contain_text("admin scope")
    kept = page.evaluate("[localStorage.length, sessionStorage.getItem('atelier-key')]")
    assert kept == [0, key]
