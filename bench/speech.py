"""How fast the built-in voice speaks, in process and through HTTP: `python -m bench.speech`.

Starts a server of its own. Every figure is a median on one connection; the engine is called in a thread of its own, as
the replica calls it.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import settings
from bench.overhead import ROOT, running_server, tone
from models.catalog import create_engine
from models.speech.engine import SpeechEngine
from models.tasks import SpeechJob

SENTENCE = "Good morning to all of you, and welcome to the show."
TEXTS = {
    "English": SENTENCE,
    "Korean": "안녕하세요, 오늘은 날씨가 아주 좋아서 공원에 갔습니다.",
    "Japanese": "おはようございます。今日は東京で友達に会いました。",
    "Chinese": "你好，世界。今天天气很好，我们去公园玩。",
}
LONG = 40
ROUNDS = 15


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    entry = settings.load(ROOT / "serve_config.yaml", {}).models["voice"]
    engine = create_engine(entry)
    assert isinstance(engine, SpeechEngine)
    engine.load()
    engine.warm_up()
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with running_server() as server:
        server.client.post("/v1/audio/speech", json=asked(SENTENCE)).raise_for_status()
        console.print(real_time_factors(engine, server.client))
        console.print(first_bytes(server.client))
        console.print(preparations(server.client))


def real_time_factors(engine: SpeechEngine[Any], client: httpx.Client) -> Table:
    """Seconds of work for a second of sound, of a text of many sentences in a named voice."""
    table = Table("real-time factor", "in process", "HTTP, whole", "ratio")
    for language, sentence in TEXTS.items():
        text = " ".join([sentence] * 12)
        seconds = engine.speak(SpeechJob(text, voice="alloy")).seconds
        alone = median(in_thread(lambda: engine.speak(SpeechJob(text, voice="alloy"))))  # noqa: B023
        whole = median(lambda: client.post("/v1/audio/speech", json=asked(text)).raise_for_status())  # noqa: B023
        table.add_row(language, f"{alone / seconds:.4f}", f"{whole / seconds:.4f}", f"{whole / alone:.2f}")
    return table


def first_bytes(client: httpx.Client) -> Table:
    """How long until the first sound comes, and all of it, for a short and a long text."""
    table = Table("streamed PCM", "first byte", "last byte")
    for name, text in (("one sentence", SENTENCE), (f"{LONG} sentences", " ".join([SENTENCE] * LONG))):
        firsts, lasts = zip(*(streamed(client, text) for _ in range(ROUNDS)), strict=True)
        table.add_row(name, *(f"{statistics.median(times) * 1000:.0f} ms" for times in (firsts, lasts)))
    return table


def preparations(client: httpx.Client) -> Table:
    """What a voice costs at its first use, and afterwards."""
    table = Table("one sentence in a stored voice, of a sample of 10 s", "first use", "later")
    firsts: list[float] = []
    laters: list[float] = []
    for number in range(ROUNDS):
        sample = tone(100 + 7 * number, seconds=10)
        consent = client.post(
            "/v1/audio/voice_consents", data={"name": "bench", "language": "en"}, files={"recording": sample}
        ).json()
        voice = client.post(
            "/v1/audio/voices",
            data={"name": f"bench {number}", "consent": consent["id"]},
            files={"audio_sample": sample},
        ).json()["id"]
        for times in (firsts, laters):
            times.append(seconds_of(lambda: client.post("/v1/audio/speech", json=asked(SENTENCE, voice))))  # noqa: B023
    table.add_row("HTTP", *(f"{statistics.median(times) * 1000:.0f} ms" for times in (firsts, laters)))
    return table


def asked(text: str, voice: str = "alloy") -> dict[str, Any]:
    """The body of a request."""
    return {"model": "voice", "input": text, "voice": voice, "response_format": "pcm"}


def streamed(client: httpx.Client, text: str) -> tuple[float, float]:
    """Seconds to the first and to the last byte of sound."""
    begun = time.perf_counter()
    with client.stream("POST", "/v1/audio/speech", json=asked(text)) as answer:
        answer.raise_for_status()
        arrived = [time.perf_counter() for _ in answer.iter_raw()]
    return arrived[0] - begun, arrived[-1] - begun


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """The work in a thread of its own."""

    def call() -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(work).result()

    return call


def median(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    return statistics.median(seconds_of(call) for _ in range(ROUNDS))


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
