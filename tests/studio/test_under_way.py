"""Pictures under way: stopped, found again after a reload, and not lost with a connection, or a server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.servers import Server
from tests.studio.test_studio import draw

POST = "**/v1/images/generations"
EVENTS = "**/v1/jobs/*/events"
MADE = ".result details.code"


def begin(page: Page, prompt: str, steps: int = 150, pictures: int = 4) -> str:
    """Have the page draw for long; the id of the job once the server has accepted it."""
    page.click("summary:has-text('Options')")
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_label("Pictures").fill(str(pictures))
    page.fill("#prompt", prompt)
    with page.expect_response(POST) as accepted:
        page.press("#prompt", "Enter")
    assert accepted.value.status == 202
    return str(accepted.value.json()["id"])


def posts(page: Page) -> list[Request]:
    """What the page asks to be made from now on."""
    found: list[Request] = []
    page.on("request", lambda sent: found.append(sent) if sent.method == "POST" and "/images/" in sent.url else None)
    return found


def refused(status: int, code: str) -> dict[str, Any]:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": code}}
    headers = {"content-type": "application/json", "retry-after": "7"}
    return {"status": status, "body": json.dumps(body), "headers": headers}


def test_stop_really_stops(page: Page, server: Server) -> None:
    job = begin(page, "a green star")
    with page.expect_response(f"**/v1/jobs/{job}") as told:
        page.click("button:text-is('Stop')")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert told.value.ok
    assert httpx.get(f"{server.url}/v1/jobs/{job}").json()["state"] == "cancelled"


def test_a_reload_in_the_middle_goes_on_with_the_same_job(page: Page) -> None:
    job = begin(page, "a yellow heart on white", steps=100, pictures=2)
    later = posts(page)
    with page.expect_request(f"**/v1/jobs/{job}/events"):
        page.reload()
    expect(page.locator("[aria-busy=true]")).to_have_count(1)
    expect(page.locator(MADE)).to_have_count(2)
    assert later == []
    assert page.input_value("#prompt") == "a yellow heart on white"
    page.reload()
    expect(page.locator(MADE)).to_have_count(2)  # what was made is still there, and nothing is made again
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.nightly
def test_an_edit_survives_a_reload_with_the_picture_it_is_made_of(page: Page) -> None:
    draw(page, "a red circle on a blue background")
    page.click("button:text-is('Edit this')")
    page.click("summary:has-text('Options')")
    page.get_by_label("Steps").fill("100")
    page.fill("#prompt", "make the circle green")
    with page.expect_response("**/v1/images/edits") as accepted:
        page.press("#prompt", "Enter")
    assert accepted.value.status == 202
    page.reload()
    expect(page.locator(MADE)).to_have_count(2)
    expect(page.locator(".result").first.get_by_label("Before and after")).to_be_visible()


@pytest.mark.nightly
def test_a_lost_connection_is_taken_up_again(page: Page) -> None:
    lost: list[str] = []

    def lose(route: Route) -> None:
        lost.append(route.request.url)
        route.abort("connectionreset") if len(lost) == 1 else route.continue_()

    page.route(EVENTS, lose)
    begin(page, "a blue ring", steps=20, pictures=1)
    later = posts(page)
    expect(page.locator(MADE)).to_have_count(1)
    assert len(lost) == 2
    assert lost[0] == lost[1]
    assert later == []


@pytest.mark.nightly
def test_a_server_that_has_begun_again_gets_the_work_again_with_the_same_seed(page: Page) -> None:
    forgotten: list[str] = []

    def forget(route: Route) -> None:
        forgotten.append(route.request.url)
        route.fulfill(**refused(404, "job_not_found")) if len(forgotten) < 3 else route.continue_()

    page.route(EVENTS, forget)
    sent = posts(page)
    draw(page, "a red cross on white")
    first, again, later = [(each.headers["idempotency-key"], json.loads(each.post_data or "")["seed"]) for each in sent]
    assert first == again  # where it was accepted before, nothing is made twice
    assert later[0] != first[0]
    assert later[1] == first[1]


def test_a_server_that_is_away_loses_nothing_and_what_was_asked_for_is_made_when_it_is_back(
    page: Page, context: BrowserContext
) -> None:
    page.fill("#prompt", "a purple ring")
    context.set_offline(True)
    page.press("#prompt", "Enter")
    expect(page.locator("main > .note.wrong")).to_be_visible()
    assert page.input_value("#prompt") == "a purple ring"
    context.set_offline(False)
    expect(page.locator(MADE)).to_have_count(1)
    expect(page.locator("main > .note.wrong")).to_have_count(0)


def test_a_full_queue_is_a_sentence_that_says_when_and_a_way_on(page: Page) -> None:
    page.route(POST, lambda route: route.fulfill(**refused(429, "rate_limit_exceeded")))
    page.fill("#prompt", "a white heart")
    page.press("#prompt", "Enter")
    expect(page.locator(".result .note.wrong")).to_contain_text("Too many requests at once. Try again in 7 s.")
    page.unroute(POST)
    page.click("button:text-is('Try again')")
    expect(page.locator(MADE)).to_have_count(1)


def test_a_result_is_deleted_with_a_way_back(page: Page) -> None:
    draw(page, "a red star")
    page.click("summary:text-is('More')")
    page.click(".result button:text-is('Delete')")
    expect(page.locator(MADE)).to_have_count(0)
    page.click(".toast button:text-is('Undo')")
    expect(page.locator(MADE)).to_have_count(1)
