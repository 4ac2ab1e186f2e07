"""The tasks of `/v1/vision/analyze`."""

from __future__ import annotations

from deployments.ingress.routes.vision import _TASKS
from training.questions import TASK_PROMPTS


def test_the_server_asks_the_very_questions_that_the_built_in_model_has_learnt() -> None:
    assert {task: prompt for task, (_, prompt) in _TASKS.items() if prompt} == TASK_PROMPTS
