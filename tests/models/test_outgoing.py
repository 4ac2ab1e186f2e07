"""What of the environment reaches servers that the configuration names."""

from __future__ import annotations

import pytest

from models.outgoing import may_use_proxy, openai_client
from tests.upstreams import pretending


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://127.0.0.1:11434/v1", False),
        ("http://[::1]:1/v1", False),
        ("http://localhost/v1", False),
        ("http://10.0.0.5:8000/v1", False),
        ("http://vllm:8000/v1", False),
        ("http://box.local/v1", False),
        ("https://api.openai.com/v1", True),
        ("http://8.8.8.8/v1", True),
    ],
)
def test_a_proxy_of_the_environment_is_for_the_internet_only(url: str, may: bool) -> None:
    assert may_use_proxy(url) is may


async def test_nothing_that_the_environment_says_of_openai_reaches_another_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-shell")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-shell")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-shell")
    with pretending(lambda handler: handler.send_error(400)) as server:
        client = openai_client(server.url, "sk-ours", 5)
        with pytest.raises(Exception, match="400"):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        await client.close()
    (headers,) = server.headers
    assert headers["authorization"] == "Bearer sk-ours"
    assert not [name for name, value in headers.items() if "shell" in value]
