"""A chat model: tokens a second alone and of sixteen answers at once, beside `generate` and `transformers serve`."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import httpx
from PIL import Image

from bench.chat import other
from bench.gpu import checkpoints
from bench.gpu.checkpoints import drawn
from bench.gpu.report import LeftOut
from bench.gpu.work import GB, ROUNDS, Work
from bench.overhead import STAMP, data_url, fresh, seconds
from cli.environment import free_ports
from models.catalog import create_engine
from models.chat.engine import PendingChat
from models.entry import ModelEntry
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart

TOGETHER: Final = 16
QUESTION: Final = "describe this image in one short sentence please"
_SERVES_WITH: Final = ("fastapi", "uvicorn", "openai")
"""What `transformers serve` needs besides transformers."""


def run(work: Work) -> None:
    """Measure."""
    folder = work.folder / "chat"
    if work.drawn:
        _run_drawn(work, folder)
        return
    took = work.attempt("write", lambda: seconds(lambda: write(folder, tiny=work.tiny, device=work.device)))
    if took is None:
        return
    work.figure("checkpoint on disk", checkpoints.size_of(folder) / GB, "GB")
    _measure(work, folder)


def _run_drawn(work: Work, folder: Path) -> None:
    from transformers import AutoModelForImageTextToText

    make, processor = checkpoints.qwen_vl(work.tiny)
    drawn(make, "meta").config.save_pretrained(folder)
    processor.save_pretrained(folder)
    work.turn()
    read = patch.object(
        AutoModelForImageTextToText, "from_pretrained", lambda *_, **__: drawn(make, work.device).eval()
    )
    with read:
        _measure(work, folder)


def _measure(work: Work, folder: Path) -> None:
    tokens = 16 if work.tiny else 128
    bare = work.attempt("bare", lambda: _bare(work, folder, tokens), needs=30) or {}
    work.attempt("engine", lambda: _engine(work, folder, tokens, bare), needs=30)
    if not work.tiny and not work.drawn:
        work.attempt("transformers serve", lambda: _other_server(work, folder, tokens), needs=40)


def write(folder: Path, *, tiny: bool, device: str) -> None:
    """Qwen2.5-VL with random weights."""
    make, processor = checkpoints.qwen_vl(tiny)
    drawn(make, device).save_pretrained(folder)
    processor.save_pretrained(folder)


def _picture(side: int) -> bytes:
    picture = Image.radial_gradient("L").resize((side, side)).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _engine(work: Work, folder: Path, tokens: int, bare: dict[int, float]) -> None:
    more: dict[str, Any] = {"device": "cpu", "threads": 1} if work.tiny else {}
    options = {"max_batch": TOGETHER}
    engine: Any = create_engine(ModelEntry(engine="vlm", checkpoint=str(folder), options=options, **more))
    work.forget_peak()
    if work.load("bfloat16", engine) is None:
        return
    picture = _picture(56 if work.tiny else 512) + STAMP

    def rate(count: int) -> float:
        written: list[int] = []
        failed: list[Exception] = []

        def tell(piece: ChatDelta | Exception) -> None:
            if isinstance(piece, Exception):
                failed.append(piece)
            elif piece.usage is not None:
                written.append(piece.usage.completion_tokens)

        def answer() -> None:
            written.clear()
            messages = [Message("user", (ImagePart(fresh(picture)), TextPart(QUESTION))) for _ in range(count)]
            jobs = [ChatJob((message,), max_tokens=tokens) for message in messages]
            engine.answer([PendingChat(job, tell, lambda: False) for job in jobs])
            if failed:
                raise failed[0]

        took = work.seconds(answer, _rounds(work))
        return sum(written) / took

    for count in (1, TOGETHER):
        work.figure(f"tokens, {count} at once", rate(count), "a second", beside=bare.get(count))
    work.say_peak(f"{TOGETHER} answers")
    engine.unload()


def _bare(work: Work, folder: Path, tokens: int) -> dict[int, float]:
    """Tokens a second by `generate` alone, by how many answers are written at once."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    dtype = torch.float32 if work.tiny else torch.bfloat16
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(work.device).eval()
    processor = AutoProcessor.from_pretrained(folder)
    picture = Image.open(io.BytesIO(_picture(56 if work.tiny else 512)))
    turn = {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]}

    def answer(count: int) -> None:
        inputs = processor.apply_chat_template(
            [[turn]] * count, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(model.device, dtype)
        with torch.inference_mode():
            model.generate(**inputs, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens)

    rounds = _rounds(work)
    return {count: count * tokens / work.seconds(lambda: answer(count), rounds) for count in (1, TOGETHER)}  # noqa: B023


def _rounds(work: Work) -> int:
    """An answer takes seconds, and its tokens differ little: once will do where time is short."""
    return 1 if work.drawn else ROUNDS


def _other_server(work: Work, folder: Path, tokens: int) -> None:
    """`transformers serve`, over HTTP."""
    missing = [package for package in _SERVES_WITH if find_spec(package) is None]
    if missing:
        work.say(LeftOut(f"transformers serve: it needs {', '.join(missing)}"))
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    with other(command, port, "/health"), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        for count in (1, TOGETHER):
            rate = rate_through(client, str(folder), tokens, count)
            work.figure(f"tokens of transformers serve, {count} connections", rate, "a second")


def rate_through(client: httpx.Client, model: str, tokens: int, count: int) -> float:
    """Tokens a second of a server, on so many connections at once."""
    picture = _picture(512)

    def ask(_: int) -> int:
        url = fresh((data_url(picture) + STAMP.decode()).encode()).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
        body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": tokens}
        answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
        return int(answer["usage"]["completion_tokens"])

    with ThreadPoolExecutor(count) as pool:
        once: Callable[[], list[int]] = lambda: list(pool.map(ask, range(count)))  # noqa: E731
        once()
        begun = time.perf_counter()
        written = sum(once())
        return written / (time.perf_counter() - begun)
