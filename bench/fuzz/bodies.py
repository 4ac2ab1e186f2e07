"""Valid requests with a few things wrong in them: the examples of `/docs`, with real pictures and sounds, mutated."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, Final

import httpx
import numpy as np
import soundfile
from PIL import Image

from bench.fuzz.verdict import HANGS_AFTER, Tally, fault_of
from deployments.ingress.openapi_examples import EXAMPLES
from deployments.ingress.openapi_objects import PICTURE

_ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, 5e-324, "", " ", "\x00",
    "a" * 10_000, "ä" * 3000, "\ud800", "🙂‍↔️", "../../etc/passwd", "%00", "'; DROP TABLE images; --", "{{7*7}}", "NaN",
    "null", "true", "1", "-1", "1e9", "auto", "0x0", "64x64", "99999x1", "64X64", "data:image/png;base64,",
    "data:image/png;base64,AAAA", "http://127.0.0.1:1/", "file:///etc/passwd", [], {}, [[]], [None], [{}], {"": None},
    [1, "a", None], {"type": "text"}, {"url": 1}, ["a"] * 3000, {"a": {"b": {"c": {}}}},
)  # fmt: skip
_DEEP: Final = json.loads("[" * 200 + "]" * 200)
_SLOW: Final = {"n", "steps", "num_inference_steps", "max_tokens", "max_completion_tokens"}
"""What only makes a request longer: a big one is worth a try now and then, not each time."""
_PLACES: Final = ("default", "image-gen", "voice", "none", "%2e%2e", "a" * 300, "%00", "é", "1")
_PARTS: Final = ("image", "image[]", "images", "file", "input_file", "mask", "ref_audio", "recording")
_JSON_TYPES: Final = ("application/json",) * 6 + ("text/plain", "application/json; charset=utf-16", "image/png", "")
_HEADERS: Final[tuple[dict[str, str], ...]] = (
    {"x-request-id": "a b"}, {"idempotency-key": "k"}, {"authorization": "Bearer"}, {"expect": "100-continue"},
    {"content-encoding": "br"}, {"accept": "text/html"}, {"origin": "null"}, {"x-forwarded-for": "1.2.3.4, x"},
)  # fmt: skip


def run(url: str, seed: int, seconds: float, workers: int) -> Tally:
    """Send mutated requests for so long, from so many threads; the same seed sends the same to each."""
    tally = Tally("mutated")
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda number: _work(url, random.Random(f"{seed}/{number}"), until, tally), range(workers)))
    return tally


def _work(url: str, chance: random.Random, until: float, tally: Tally) -> None:
    routes = [(method, path, example) for path, each in EXAMPLES.items() for method, example in each.items()]
    with httpx.Client(base_url=url, timeout=HANGS_AFTER) as client:
        while time.monotonic() < until:
            method, path, example = chance.choice(routes)
            request = _request(client, chance, method, path, example.sent or {})
            _send(client, request, tally)


def _send(client: httpx.Client, request: httpx.Request, tally: Tally) -> None:
    told = f"{request.method} {request.url} {request.headers.get('content-type')} {request.read()[:1500]!r}"
    try:
        answer = client.send(request)
    except httpx.TimeoutException:
        tally.add("hangs", f"no answer within {HANGS_AFTER:g} s", told)
    except httpx.TransportError as error:
        tally.add("broken", f"the connection broke: {error!r}", told)
    else:
        fault = fault_of(request.method, answer.status_code, answer.headers, answer.content)
        tally.add(str(answer.status_code), fault, told)


def _request(
    client: httpx.Client, chance: random.Random, method: str, path: str, sent: dict[str, Any]
) -> httpx.Request:
    path = re.sub(r"{\w+}", lambda _: chance.choice(_PLACES), path)
    if chance.random() < 0.1:
        path = chance.choice((path + "/", "/" + path, path.upper(), path + "?n=1&n=2", path + "?limit=-1&after=%ff"))
    if chance.random() < 0.05:
        method = chance.choice(("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "POST"))
    headers = chance.choice(_HEADERS) if chance.random() < 0.05 else {}
    if method in ("GET", "HEAD", "OPTIONS"):
        return client.build_request(method, path, headers=headers)
    body = _mutated(sent, chance, chance.choice((0, 1, 1, 2, 3)))
    fields = body if isinstance(body, dict) else {"a": body}
    for name in _SLOW & fields.keys():
        if chance.random() < 0.9:
            fields[name] = sent.get(name, 1)
    texts = {name: _text(value) for name, value in fields.items()}
    form = chance.choice(("json", "json", "torn", "urlencoded", "multipart"))
    if form == "urlencoded":
        return client.build_request(method, path, headers=headers, data=texts)
    if form == "multipart":
        return client.build_request(method, path, headers=headers, data=texts, files=_files(chance))
    content = json.dumps(body).encode()
    kind = chance.choice(_JSON_TYPES)
    content = _damaged(content, chance) if form == "torn" else content
    return client.build_request(method, path, headers={**headers, "content-type": kind}, content=content)


def _files(chance: random.Random) -> list[tuple[str, tuple[str, bytes, str]]]:
    files = []
    for name in chance.sample(_PARTS, 2):
        data = _picture(chance) if chance.random() < 0.8 else _sound(chance)
        if chance.random() < 0.5:
            data = _damaged(data, chance)
        file_name = chance.choice(("a.png", "../a", "é" * 200, ""))
        files.append((name, (file_name, data, chance.choice(("image/png", "x")))))
    return files


def _mutated(body: Any, chance: random.Random, times: int) -> Any:
    body = json.loads(json.dumps(body))
    for _ in range(times):
        body = _once(body, chance)
    return body


def _once(value: Any, chance: random.Random) -> Any:
    """The value with one thing changed, at any depth."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        if chance.random() < 0.15:
            del value[name]
        elif chance.random() < 0.15:
            value[chance.choice((name.upper(), f"{name}x", "", "__proto__", "extra"))] = deepcopy(chance.choice(_ODD))
        else:
            value[name] = _once(value[name], chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.7:
        value[chance.randrange(len(value))] = _once(value[0], chance)
        return value
    if isinstance(value, str) and value.startswith("data:image") and chance.random() < 0.8:
        return "data:image/png;base64," + base64.b64encode(_damaged(_picture(chance), chance)).decode()
    return deepcopy(chance.choice((*_ODD, _DEEP)))  # what is chosen may be changed next


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()


def _damaged(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    torn = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 4, 30))):
        torn[chance.randrange(len(torn))] = chance.randrange(256)
    if chance.random() < 0.3:
        del torn[chance.randrange(len(torn)) :]
    if chance.random() < 0.1:
        torn += bytes(chance.randrange(64))
    return bytes(torn)


def _picture(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return base64.b64decode(PICTURE.partition(",")[2])
    mode = chance.choice(("RGB", "RGBA", "L", "P", "1", "LA", "I;16", "CMYK"))
    size = chance.choice(((1, 1), (16, 16), (64, 64), (1, 500), (500, 1), (2000, 3)))
    picture = Image.new(mode, size)
    kind = chance.choice(("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO"))
    encoded = io.BytesIO()
    try:
        picture.save(encoded, kind)
    except (OSError, ValueError):  # not every format has every mode and size
        picture.convert("RGB").save(encoded, "PNG")
    return encoded.getvalue()


def _sound(chance: random.Random) -> bytes:
    rate = chance.choice((8000, 24000, 44100))
    samples = np.random.default_rng(chance.randrange(2**32)).normal(0, 0.1, (rate, chance.choice((1, 2))))
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format=chance.choice(("WAV", "FLAC", "OGG", "MP3")))
    return encoded.getvalue()
