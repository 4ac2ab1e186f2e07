"""The prompt writer with this product's own server as its chat endpoint."""

from __future__ import annotations

from typing import Any

import pytest

import settings as configuration
from deployments.ingress.prompt_writer import MAX_PROMPT, PromptWriter, joined
from deployments.ingress.roster import Roster
from tests.servers import Server

ARGS: dict[str, Any] = {
    "models": {"vlm-fast": {"engine": "vlm", "checkpoint": "builtin:vlm"}},
    "image_search_enabled": False,
}


@pytest.mark.parametrize(("model", "sources"), [("vlm-fast", {"model", "fallback"}), ("no-such-model", {"fallback"})])
async def test_our_own_server_is_an_endpoint_like_any_other(server: Server, model: str, sources: set[str]) -> None:
    environ = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_PROMPT_MODEL": model}
    settings = configuration.validate(ARGS, environ)
    writer = PromptWriter(settings.prompts, Roster(settings, {}))
    title, description = "Circle", "A big red circle on a blue background"
    written = await writer.write(title, description)
    await writer.close()
    # The built-in model knows pictures only, so its words may be of no use; then they must not be used.
    assert written.source in sources
    assert 1 <= len(written.prompt) <= MAX_PROMPT
    assert "\n" not in written.prompt
    if written.source == "fallback":
        assert written.prompt == joined(title, description)
