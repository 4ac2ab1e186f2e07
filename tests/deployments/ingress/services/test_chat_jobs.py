"""Chat requests as jobs: what is refused, and what has to be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.ingress.errors import ApiError
from deployments.ingress.schemas.chat import ChatCompletion
from deployments.ingress.services.chat_jobs import jobs_of
from models.chat.calls import ArgumentsReader, reader_for
from models.tasks import ChatJob
from tests.deployments.apps import settings_of


async def jobs(home: Path, **fields: Any) -> list[ChatJob]:
    settings = settings_of(home)
    messages = [{"role": "user", "content": "hi"}]
    return await jobs_of(ChatCompletion.model_validate({"model": "vlm", "messages": messages, **fields}), settings)


@pytest.mark.parametrize("token", ["9" * 5000, "-1", "1.5", "\u00b2", ""])
async def test_a_bias_of_what_is_no_token_id_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(ApiError) as caught:
        await jobs(tmp_path, logit_bias={token: 1})
    assert (caught.value.status, caught.value.param) == (400, "logit_bias")


async def test_a_function_that_is_allowed_twice_is_called_once(tmp_path: Path) -> None:
    named = {"type": "function", "function": {"name": "stop"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named, named]}}
    (job,) = await jobs(tmp_path, tools=[named], tool_choice=choice)
    assert job.must_call == ("stop",)
    assert isinstance(reader_for(job, None), ArgumentsReader)
