"""Ten thousand pictures in a project: as few elements as are seen."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.pictures import png
from tests.studio.test_studio import enter

pytestmark = pytest.mark.nightly

COUNT = 10_000
PAGE = 1000


def records(route: Route) -> None:
    """A page of a list such as the server gives."""
    first = int(parse_qs(urlsplit(route.request.url).query).get("after", ["0"])[0])
    page = [{"id": f"{n:08d}", "original_filename": f"<b>{n}.png", "content_type": "image/png"}
            for n in range(first, first + PAGE)]  # fmt: skip
    last = first + PAGE
    route.fulfill(json={"images": page, "has_more": last < COUNT, "next": str(last) if last < COUNT else None})


def test_ten_thousand_thumbnails_are_a_screenful_of_elements_wherever_one_looks(page: Page) -> None:
    thumbnail = png()
    page.route(re.compile(r"/v1/images\?"), records)
    page.route("**/thumbnail?*", lambda route: route.fulfill(body=thumbnail, content_type="image/png"))
    enter(page, "find")
    status = page.locator("section:not([hidden]) p[role=status]")
    expect(status).to_contain_text("1,000")
    scroller = page.locator(".scroller")
    for _ in range(600):  # pages come one after the other, on a busy machine in half a second
        if status.inner_text() == "10,000 pictures":
            break
        scroller.evaluate("each => { each.scrollTop = each.scrollHeight; }")
        page.wait_for_timeout(100)
    expect(status).to_have_text("10,000 pictures")
    most = 0
    for share in (0, 0.25, 0.5, 0.75, 1):
        seen = scroller.evaluate(
            """async (each, share) => {
                each.scrollTop = share * (each.scrollHeight - each.clientHeight);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return [each.querySelectorAll('*').length, document.querySelectorAll('.tile').length];
            }""",
            share,
        )
        most = max(most, seen[1])
        assert seen[0] < 1500
    assert 0 < most <= 100
    expect(page.locator(".tile img").last).to_have_attribute("alt", "<b>9999.png")
