"""Clients of the one server that all API tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.api.node import Node


@pytest.fixture(scope="session")
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def sdk(server: Any) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def node(server: Any, node_packages: Path) -> Node:
    return Node(node_packages, server.url)


def fault(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, code and param of an error, whose envelope and id are checked on the way."""
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["message"]
    assert answer.headers["x-request-id"]
    return answer.status_code, error["code"], error["param"]
