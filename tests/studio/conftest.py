"""A browser that looks at the running server, and finds nothing wrong on its console."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.api.node import Node
from tests.api.pictures import png, scene
from tests.servers import Server

PATIENCE = 240_000
"""Milliseconds for what a model has to be loaded for."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another one on PATH."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium: deploy/packages.sh chromium installs it"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Iterator[Page]:
    """The page, just opened. What a test does not expect on its console fails it."""
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(server.url)
    page.wait_for_selector("#prompt")
    yield page
    assert [each for each in said if "Failed to load resource" not in each] == []


@pytest.fixture(scope="module")
def node(server: Server, node_packages: Path) -> Node:
    """Node with OpenAI's SDK, for what the page shows as JavaScript."""
    return Node(node_packages, server.url)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three files, one of them with a name full of markup."""
    names = ("a.png", "b.png", '<img src=x onerror="document.title=1">.png')
    for name, colour in zip(names, ("red", "green", "yellow"), strict=True):
        (tmp_path / name).write_bytes(png(scene(colour=colour)))
    return [tmp_path / name for name in names]
