"""A picture of Ray's dashboard: an application's deployments, and below it the nodes with the replicas on each.

    python -m bench.cluster.picture URL FILE

The token is that of RAY_AUTH_TOKEN. The head has the dashboard on its loopback.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_COOKIE: Final = "ray-authentication-token"
_WIDTH: Final = 1280
_APPLICATION: Final = "atelier"
_WITHOUT_OTHERS: Final = """
for (const row of document.querySelectorAll("tbody tr"))
    if (!/ServeReplica|\\d+\\.\\d+\\.\\d+\\.\\d+/.test(row.innerText)) row.remove();
scrollTo(0, 0);
"""
"""Processes of Ray itself take most of the page."""


def main() -> None:
    """Open both pages and save what is seen."""
    url, file = sys.argv[1:]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("bench.cluster.picture: no Chromium; deploy/packages.sh chromium installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(locale="en-GB", viewport={"width": _WIDTH, "height": 900})
        context.add_cookies([{"name": _COOKIE, "value": os.environ["RAY_AUTH_TOKEN"], "url": url}])
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{url}/#/serve/applications/{_APPLICATION}")
        page.wait_for_selector("text=HEALTHY")
        page.wait_for_timeout(1000)
        above = _shown(page)
        page.goto(f"{url}/#/cluster")
        page.wait_for_selector("tbody tr")
        page.wait_for_timeout(2000)
        for row in range(page.locator("tbody svg").count()):  # the processes of each node
            page.locator("tbody svg").nth(row).click()
        page.wait_for_timeout(1500)
        page.evaluate(_WITHOUT_OTHERS)
        top = page.locator("thead").bounding_box()
        below = _shown(page)
        browser.close()
    below = below.crop((0, int(top["y"]) if top else 0, _WIDTH, below.height))
    both = Image.new("RGB", (_WIDTH, above.height + below.height), "white")
    both.paste(above, (0, 0))
    both.paste(below, (0, above.height))
    both.save(Path(file), quality=80, method=6)


def _shown(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")


if __name__ == "__main__":
    main()
