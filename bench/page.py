"""`python -m bench.page`: how soon the studio can be used, and how much of it that needs.

Usable is when the prompt box is there, which the page's code draws: what is typed from then on counts. The time is the
browser's own, from the beginning of the navigation, over loopback.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from typing import Final

from playwright.sync_api import Browser, BrowserContext, sync_playwright
from rich.console import Console
from rich.table import Table

from bench.overhead import running_server

_WATCH: Final = """
new MutationObserver((_, watcher) => {
  if (!document.querySelector('#prompt')) return;
  window.usable = performance.now();
  watcher.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
_NEEDED: Final = """
performance.getEntries().filter((each) => each.encodedBodySize && each.startTime < window.usable)
  .reduce((sum, each) => sum + each.encodedBodySize, 0)
"""


def main() -> None:
    """Open the page of a server that is started for it, and print the table."""
    options = argparse.ArgumentParser(description="How soon the studio can be used.")
    options.add_argument("--times", type=int, default=16)
    given = options.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("bench.page: no Chromium; deploy/packages.sh chromium installs it")
    table = Table("the page", "usable after, median (ms)", "at best", "at worst", "what it needs for that (kB, packed)")
    with running_server() as server, sync_playwright() as playwright:
        url = str(server.client.base_url)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, opened in (("never seen", _never_seen), ("seen before", _seen_before)):
            found = opened(browser, url, given.times)
            seconds = [each for each, _ in found]
            figures = (statistics.median(seconds), min(seconds), max(seconds), max(size for _, size in found) / 1000)
            table.add_row(name, *(f"{each:.0f}" for each in figures))
        browser.close()
    Console(width=120).print(table)


def _never_seen(browser: Browser, url: str, times: int) -> list[tuple[float, int]]:
    found = []
    for _ in range(times):
        with browser.new_context() as context:  # with a cache of its own
            found.append(_open(context, url))
    return found


def _seen_before(browser: Browser, url: str, times: int) -> list[tuple[float, int]]:
    with browser.new_context() as context:
        return [_open(context, url) for _ in range(times + 1)][1:]


def _open(context: BrowserContext, url: str) -> tuple[float, int]:
    """Milliseconds until the page could be used, and the bytes of what it needed."""
    page = context.new_page()
    page.add_init_script(_WATCH)
    page.goto(url)
    page.wait_for_function("window.usable")
    found = page.evaluate("window.usable"), page.evaluate(_NEEDED)
    page.close()
    return found


if __name__ == "__main__":
    main()
