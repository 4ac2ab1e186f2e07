"""The prompt writer with this product's own server as its chat endpoint."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

import settings as configuration
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.services.prompt_writer import (
    INSTRUCTION,
    PromptWriter,
    UnusableAnswer,
    WrittenPrompt,
    caption,
    join_texts,
)
from tests.servers import Server

ARGS: dict[str, Any] = {
    "models": {"vlm-fast": {"engine": "vlm", "checkpoint": "builtin:vlm"}},
    "image_search_enabled": False,
}


async def written(server: Server, model: str, title: str, description: str) -> WrittenPrompt:
    environ = {
        "ATELIER_PROMPT_API_KEY": "none",
        "ATELIER_PROMPT_BASE_URL": f"{server.url}/v1",
        "ATELIER_PROMPT_MODEL": model,
    }
    settings = configuration.validate(ARGS, environ)
    writer = PromptWriter(settings.prompts, ModelCalls(settings, {}))
    try:
        return await writer.write(title, description)
    finally:
        await writer.close()


async def test_our_own_server_is_an_endpoint_like_any_other(server: Server, sdk: OpenAI) -> None:
    title, description = "Circle", "A big red circle on a blue background"
    answer = sdk.chat.completions.create(
        model="vlm-fast",
        messages=[
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": f"Title: {title}\nDescription: {description}"},
        ],
    )
    # The built-in model knows pictures only, so its words may be of no use; then they must not be used.
    try:
        expected = WrittenPrompt(caption(answer.choices[0].message.content), "model")
    except UnusableAnswer:
        expected = WrittenPrompt(join_texts(title, description), "fallback")
    assert await written(server, "vlm-fast", title, description) == expected


async def test_a_model_that_the_endpoint_does_not_have_costs_nobody_the_picture(server: Server) -> None:
    expected = WrittenPrompt(join_texts("Circle", "A red circle"), "fallback")
    assert await written(server, "no-such-model", "Circle", "A red circle") == expected
