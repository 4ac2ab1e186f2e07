"""The command `llm`."""

from __future__ import annotations

import json
import os
import subprocess

from cases import QUESTION, case, main


def llm(*arguments: str, **environ: str) -> str:
    done = subprocess.run(
        ["llm", *arguments], capture_output=True, text=True, env={**os.environ, **environ}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(url: str, *more: str) -> str:
    return llm("openai", "endpoint", url, "-m", "vlm-fast", *more)


@case
def text(url: str) -> None:
    assert ask(url, QUESTION, "--no-stream")


@case
def picture(url: str) -> None:
    assert "red" in ask(url, QUESTION, "--attachment", "circle.png").lower()


@case
def stream(url: str) -> None:
    assert ask(url, QUESTION)


@case
def structured(url: str) -> None:
    assert isinstance(json.loads(ask(url, QUESTION, "--schema", "sure bool, count int"))["sure"], bool)


@case
def tools(url: str) -> None:
    assert ask(url, QUESTION, "--tool", "llm_time")


@case
def embeddings(url: str) -> None:
    assert json.loads(llm("embed", "-m", "3-small", "-c", "a red circle", OPENAI_BASE_URL=url))


if __name__ == "__main__":
    main()
