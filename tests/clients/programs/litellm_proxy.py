"""LiteLLM's proxy, asked by OpenAI's SDK: what it makes of the requests is what counts."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal

import httpx
from cases import MODEL, PNG, QUESTION, WANTS_PICTURE, case, cases, is_mp3, is_picture, main
from openai import OpenAI
from pydantic import BaseModel

KEY: Final = "sk-of-the-proxy-of-this-run-0123456789"
"""The proxy refuses to start without one."""
BEHIND: Final = {
    "draw": "gpt-image-1",
    "edit": "gpt-image-1",
    "speech": "tts-1",
    "embeddings": "text-embedding-3-small",
}
"""The model of each case, but for the chats."""
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"shape": {"type": "string"}}, "required": ["shape"]},
    },
}


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


class Proxy:
    """The proxy, with a model for each case."""

    def __init__(self, url: str) -> None:
        models = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{BEHIND.get(name, MODEL)}",
                    "api_base": url.replace("CASE", name),
                    "api_key": "none",
                },
            }
            for name in cases()
        ]
        Path("proxy.yaml").write_text(json.dumps({"model_list": models}), encoding="utf-8")  # JSON is YAML
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = Path("proxy.log").open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the proxy is
        command = ["litellm", "--config", "proxy.yaml", "--host", "127.0.0.1", "--port", str(port)]
        environ = {**os.environ, "LITELLM_MASTER_KEY": KEY}
        self._process = subprocess.Popen(command, env=environ, stdout=self._log, stderr=subprocess.STDOUT)
        self.client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)
        while not self._is_ready(f"http://127.0.0.1:{port}/health/liveliness"):
            if self._process.poll() is not None:
                raise RuntimeError(Path("proxy.log").read_text(encoding="utf-8")[-3000:])
            time.sleep(0.5)

    @staticmethod
    def _is_ready(url: str) -> bool:
        try:
            return httpx.get(url).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def client() -> OpenAI:
    return proxy.client


@case
def text(_url: str) -> None:
    answer = client().chat.completions.create(model="text", messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].message.content


@case
def picture(_url: str) -> None:
    answer = client().chat.completions.create(model="picture", messages=[{"role": "user", "content": WANTS_PICTURE}])
    assert "red" in answer.choices[0].message.content.lower()


@case
def stream(_url: str) -> None:
    chunks = client().chat.completions.create(
        model="stream", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@case
def structured(_url: str) -> None:
    answer = client().chat.completions.parse(
        model="structured", messages=[{"role": "user", "content": WANTS_PICTURE}], response_format=Seen
    )
    assert answer.choices[0].message.parsed


@case
def tools(_url: str) -> None:
    answer = client().chat.completions.create(
        model="tools", messages=[{"role": "user", "content": QUESTION}], tools=[TOOL], tool_choice="required"
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "look"


@case
def responses(_url: str) -> None:
    assert client().responses.create(model="responses", input=QUESTION).output_text


@case
def draw(_url: str) -> None:
    made = client().images.generate(model="draw", prompt="a red circle")
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def edit(_url: str) -> None:
    picture = ("circle.png", PNG, "image/png")
    made = client().images.edit(model="edit", image=picture, prompt="make the circle green")
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def speech(_url: str) -> None:
    assert is_mp3(client().audio.speech.create(model="speech", voice="alloy", input="A red circle.").content)


@case
def embeddings(_url: str) -> None:
    made = client().embeddings.create(model="embeddings", input=["a red circle", "a blue star"])
    assert len(made.data) == 2


if __name__ == "__main__":
    proxy = Proxy(sys.argv[1])
    try:
        main()
    finally:
        proxy.stop()
