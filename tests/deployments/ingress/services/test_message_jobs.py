"""Messages of Anthropic's dialect as what a chat model reads."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deployments.ingress.schemas.messages import CreateMessage
from deployments.ingress.services.drawn_pictures import images_of
from deployments.ingress.services.message_jobs import message_job
from tests.api.pictures import png
from tests.deployments.apps import settings_of

DRAWN, FOUND = (png(Image.new("RGB", (8, 8), colour)) for colour in ("red", "green"))


def block(picture: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture).decode()}
    return {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("result", "pictures", "of_the_user"), [([block(FOUND)], [DRAWN, FOUND], 0), ("nothing", [DRAWN], 1)]
)
async def test_pictures_stay_in_the_order_in_which_they_came(
    tmp_path: Path, result: Any, pictures: list[bytes], of_the_user: int
) -> None:
    use = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    said = [
        {"role": "user", "content": "draw and look"},
        {"role": "assistant", "content": [block(DRAWN), use]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": result},
                {"type": "text", "text": "make it blue"},
            ],
        },
    ]
    params = CreateMessage.model_validate({"model": "a", "max_tokens": 9, "messages": said})
    job = await message_job(params, settings_of(tmp_path))
    assert [part.image for part in images_of(job.messages)] == pictures
    assert len(images_of(job.messages[-1:])) == of_the_user
