"""What the clients of a load ask, and how their answers are compared."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx


def picture(client: httpx.Client) -> str:
    """A small picture, as base64."""
    sent = {"prompt": "a red circle on a blue background", "seed": 1, "steps": 4}
    answer = client.post("/v1/images/generations", json=sent).raise_for_status()
    return str(answer.json()["data"][0]["b64_json"])


def speech(client: httpx.Client) -> bytes:
    """A spoken greeting."""
    sent = {"model": "tts-1", "voice": "alloy", "input": "Good morning.", "response_format": "wav"}
    return client.post("/v1/audio/speech", json=sent).raise_for_status().content


def chat(client: httpx.Client, content: object) -> str:
    """What a chat model says to a message, which is always the same."""
    sent = {"model": "vlm-fast", "temperature": 0, "messages": [{"role": "user", "content": content}]}
    return str(client.post("/v1/chat/completions", json=sent).raise_for_status().json()["choices"][0]["message"])


def digest(answer: Any) -> str:
    """A name of an answer."""
    return hashlib.sha256(repr(answer).encode()).hexdigest()
