"""docs/http-api.md has every route of the application with its fields, and no other; what cites it finds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import settings as configuration
from cli.environment import ROOT
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store

PAGE = (ROOT / "docs" / "http-api.md").read_text()
SECTIONS = re.split(r"^(?=## )", PAGE, flags=re.MULTILINE)[1:]
ARGS = {
    "models": {
        "image-gen": {"engine": "diffusion", "checkpoint": "builtin:image"},
        "clip": {"engine": "clip", "checkpoint": "builtin:clip"},
        "voice": {"engine": "espeak", "checkpoint": "builtin:voice"},
        "listen": {"engine": "moonshine", "checkpoint": "builtin:listen"},
    }
}


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What /openapi.json says of each route, by method and path."""
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path_factory.mktemp("atelier"))})
    document = create_app(Atelier(settings, ModelCalls(settings, {}), open_store(settings), None)).openapi()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def routes(text: str) -> list[str]:
    """The routes that a text has, as it writes them: `GET /path`."""
    return re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", text)


def test_the_page_has_every_route_once_and_no_other(operations: dict[str, Any]) -> None:
    assert sorted(routes(PAGE)) == sorted(operations)


def test_each_section_names_the_fields_of_its_routes(operations: dict[str, Any]) -> None:
    missing = []
    for section in SECTIONS:
        named = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`[^`]*`", section))))
        for route in routes(section):
            fields = {place["name"] for place in operations[route].get("parameters", ()) if place["in"] == "query"}
            for content in operations[route].get("requestBody", {"content": {}})["content"].values():
                fields |= content["schema"]["properties"].keys()
            for answer in operations[route]["responses"].values():
                for content in answer.get("content", {}).values():
                    fields |= content.get("example", {}).keys()
            missing += [f"{route}: {field}" for field in sorted(fields - named)]
    assert missing == []


def test_what_cites_a_section_finds_it() -> None:
    headings = {line.lstrip("# ") for line in PAGE.splitlines() if line.startswith("#")}
    cited = {
        (path.name, heading)
        for room in ("cli", "deployments", "models", "stores", "tests")
        for path in (ROOT / room).rglob("*.py")
        for heading in re.findall(r'docs/http-api\.md, "([^"\n]+)"', path.read_text())
    }
    assert cited
    assert {(name, heading) for name, heading in cited if heading not in headings} == set()


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        to = page if not name else page.parent / name
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            titles = [line.lstrip("# ") for line in to.read_text().splitlines() if line.startswith("#")]
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target
