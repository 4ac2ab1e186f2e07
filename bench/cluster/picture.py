"""A picture of the page of Ray's dashboard on which an application's deployments and replicas are."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import sync_playwright

_COOKIE: Final = "ray-authentication-token"
_SIZE: Final = (1280, 900)


def main() -> None:
    """`python -m bench.cluster.picture URL PAGE TEXT FILE`, once the text is there; the token in RAY_AUTH_TOKEN."""
    url, shown_page, text, file = sys.argv[1:]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("bench.cluster.picture: no Chromium; deploy/packages.sh chromium installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        width, height = _SIZE
        context = browser.new_context(locale="en-GB", viewport={"width": width, "height": height})
        context.add_cookies([{"name": _COOKIE, "value": os.environ["RAY_AUTH_TOKEN"], "url": url}])
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{url}/#/{shown_page}")
        page.wait_for_selector(f"text={text}")
        if shown_page == "cluster":
            for row in page.locator("tbody tr td:first-child svg").all():  # the processes of each node
                row.click()
        page.wait_for_timeout(1500)
        shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        shown.save(Path(file), quality=80, method=6)
        browser.close()


if __name__ == "__main__":
    main()
