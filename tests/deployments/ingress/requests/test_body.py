"""Request bodies: every dialect into one model, every fault with its path."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import settings
from deployments.ingress.errors import ApiError, response
from deployments.ingress.requests import body
from deployments.ingress.schemas.chat import ChatCompletion
from deployments.ingress.schemas.images import ALIASES, Generation

ARGS: dict[str, Any] = {
    "models": {"image-gen": {"engine": "diffusion", "checkpoint": "builtin:image"}},
    "image_search_enabled": False,
}


class Files(body.Fields):
    image: list[body.Upload]
    note: str | None = None


class Named(body.Fields):
    name: str | None = Field(None, min_length=1)


class Asked(body.Fields):
    kinds: list[str] | None = None
    limit: int = 10


async def asked(request: Request) -> Response:
    return JSONResponse(body.query(request, Asked).model_dump())


async def named(request: Request) -> Response:
    return JSONResponse((await body.read(request, Named)).model_dump())


async def generation(request: Request) -> Response:
    return JSONResponse((await body.read(request, Generation, aliases=ALIASES)).model_dump())


async def chat(request: Request) -> Response:
    read = (await body.read(request, ChatCompletion)).model_dump()
    ignored = " ".join(getattr(request.state, "ignored_parameters", []))  # middleware writes the real header
    return JSONResponse(read, headers={"x-ignored": ignored})


async def files(request: Request) -> Response:
    read = await body.read(request, Files, max_bytes=1000)
    return JSONResponse([[f.filename, len(f.data)] for f in read.image])


async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return response(error, request.scope)


def client(*, strict: bool = True) -> httpx.AsyncClient:
    routes = [Route(f"/{f.__name__}", f, methods=["POST"]) for f in (asked, named, generation, chat, files)]
    app = Starlette(routes=routes, exception_handlers={ApiError: refuse})
    app.state.atelier = SimpleNamespace(settings=settings.validate({**ARGS, "strict": strict}, {}))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def fault(path: str, **kwargs: Any) -> tuple[int, str | None, str | None]:
    async with client() as c:
        answer = await c.post(path, **kwargs)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"], error["param"]


async def test_json_multipart_and_urlencoded_give_the_same_fields() -> None:
    fields = {"prompt": "a star", "n": 2, "steps": 4, "guidance": 1.5}
    texts = {name: str(value) for name, value in fields.items()}
    async with client() as c:
        answers = [
            (await c.post("/generation", json=fields)).json(),
            (await c.post("/generation", data=texts)).json(),
            (await c.post("/generation", files={name: (None, text) for name, text in texts.items()})).json(),
        ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["n"] == 2


async def test_null_counts_as_absent() -> None:
    async with client() as c:
        assert (await c.post("/generation", json={"prompt": "a", "n": None, "user": None})).json()["n"] == 1


async def test_an_unknown_field_is_refused_by_name() -> None:
    assert await fault("/generation", json={"prompt": "a", "frames": 2}) == (400, "unsupported_parameter", "frames")
    assert await fault("/generation", data={"prompt": "a", "frames": "2"}) == (400, "unsupported_parameter", "frames")


async def test_without_strictness_unknown_fields_are_left_out() -> None:
    async with client(strict=False) as c:
        answer = await c.post("/generation", json={"prompt": "a", "frames": 2})
    assert answer.status_code == 200
    assert "frames" not in answer.json()


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, "string_below_min_length", "prompt"),
        ({"prompt": "a" * 32_001}, "string_above_max_length", "prompt"),
        ({"prompt": 3}, "invalid_type", "prompt"),
        ({"prompt": "a", "n": 11}, "integer_above_max_value", "n"),
        ({"prompt": "a", "n": 0}, "integer_below_min_value", "n"),
        ({"prompt": "a", "n": "2"}, "invalid_type", "n"),
        ({"prompt": "a", "n": 1.5}, "invalid_type", "n"),
        ({"prompt": "a", "n": True}, "invalid_type", "n"),
        ({"prompt": "a", "seed": -2}, "integer_below_min_value", "seed"),
        ({"prompt": "a", "output_format": "gif"}, "invalid_value", "output_format"),
        ({"prompt": "a", "loras": [{"weight": 1}]}, "missing_required_parameter", "loras[0].name"),
        ({"prompt": "a", "steps": 4, "num_inference_steps": 5}, "invalid_value", "num_inference_steps"),
        ({"prompt": "a", "num_inference_steps": 0}, "integer_below_min_value", "num_inference_steps"),
        ({"prompt": "a", "guidance_scale": 99}, "integer_above_max_value", "guidance_scale"),
    ],
)
async def test_each_fault_of_a_field_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    assert await fault("/generation", json=fields) == (400, code, param)


async def test_an_input_of_a_form_that_was_left_empty_is_absent_unless_it_is_a_text() -> None:
    async with client() as c:
        read = (await c.post("/generation", data={"prompt": "a", "n": "", "seed": "", "quality": ""})).json()
    assert (read["n"], read["seed"], read["quality"]) == (1, None, "medium")
    assert await fault("/generation", data={"prompt": ""}) == (400, "string_below_min_length", "prompt")
    assert await fault("/generation", json={"prompt": "a", "n": ""}) == (400, "invalid_type", "n")


async def test_an_optional_text_that_cannot_be_empty_is_absent_where_a_form_leaves_it_so() -> None:
    form = {"name": (None, "")}
    async with client() as c:
        assert (await c.post("/named", files=form)).json() == {"name": None}
    assert await fault("/named", json={"name": ""}) == (400, "string_below_min_length", "name")


async def test_two_spellings_that_agree_are_one_value() -> None:
    async with client() as c:
        answer = await c.post("/generation", json={"prompt": "a", "steps": 4, "num_inference_steps": 4})
    assert answer.json()["steps"] == 4


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([{"role": "nobody", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        (
            [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "messages[1].content[0].image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0].image_url.url",
        ),
    ],
)
async def test_a_fault_deep_in_the_messages_is_named_with_its_path(messages: list[Any], param: str) -> None:
    status, _, named = await fault("/chat", json={"model": "m", "messages": messages})
    assert (status, named) == (400, param)


async def test_what_is_no_json_object_is_refused() -> None:
    json_type = {"content-type": "application/json"}
    assert await fault("/generation", content=b"{", headers=json_type) == (400, "invalid_json", None)
    assert await fault("/generation", content=b"[1]", headers=json_type) == (400, "invalid_type", None)
    assert await fault("/generation", content=b"[" * 100_000, headers=json_type) == (400, "invalid_json", None)
    assert await fault("/generation", content=b"\xff", headers=json_type) == (400, "invalid_json", None)


async def test_another_content_type_is_415() -> None:
    answer = await fault("/generation", content=b"x", headers={"content-type": "text/plain"})
    assert answer == (415, "unsupported_media_type", None)


async def test_a_broken_form_is_refused() -> None:
    headers = {"content-type": "multipart/form-data"}
    assert (await fault("/generation", content=b"x", headers=headers))[0] == 400


async def test_a_body_past_the_limit_is_413() -> None:
    assert await fault("/generation", json={"prompt": "a" * 2_000_000}) == (413, "request_too_large", None)
    assert (await fault("/files", files={"image": b"x" * 2_000_000}))[0] == 413


async def test_repeated_file_parts_and_brackets_keep_their_order() -> None:
    async with client() as c:
        answer = await c.post("/files", files=[("image[]", ("a", b"1")), ("image[]", ("b", b"22"))])
        assert answer.json() == [["a", 1], ["b", 2]]
        answer = await c.post("/files", files=[("image", ("a", b"1")), ("image", ("b", b"22"))])
        assert answer.json() == [["a", 1], ["b", 2]]


async def test_text_where_a_file_belongs_is_refused() -> None:
    assert await fault("/files", files={"image": (None, "text")}) == (400, "invalid_type", "image[0]")


async def test_a_field_given_twice_is_refused() -> None:
    answer = await fault("/generation", files=[("prompt", (None, "a")), ("prompt", (None, "b"))])
    assert answer == (400, "invalid_value", "prompt")


async def test_null_is_absent_inside_messages_and_options_too() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,", "detail": None}}
    asked = {
        "model": "m",
        "messages": [{"role": "user", "name": None, "content": [part]}],
        "stream_options": {"include_usage": None},
    }
    async with client() as c:
        read = (await c.post("/chat", json=asked)).json()
    assert read["messages"][0]["content"][0]["image_url"]["detail"] == "auto"
    assert read["stream_options"]["include_usage"] is False


@pytest.mark.parametrize(
    ("part", "code"),
    [({"type": "input_audio"}, "invalid_value"), ({"text": "hello"}, "missing_required_parameter")],
)
async def test_a_part_of_a_kind_that_is_not_read_is_named_by_its_type(part: dict[str, str], code: str) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    assert await fault("/chat", json=asked) == (400, code, "messages[0].content[0].type")


async def test_half_a_surrogate_pair_is_no_text_but_a_whole_one_is() -> None:
    said = r'{"model": "m", "messages": [{"role": "user", "content": "%s"}]}'
    headers = {"content-type": "application/json"}
    assert await fault("/chat", content=said % r"\ud83d", headers=headers) == (400, "invalid_json", None)
    async with client() as c:
        read = (await c.post("/chat", content=said % r"\ud83d\ude00", headers=headers)).json()
    assert read["messages"][0]["content"] == "😀"


@pytest.mark.parametrize("seed", [-2, 2**53])
async def test_a_seed_of_a_chat_is_in_the_range_of_all_seeds(seed: int) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": seed}
    status, _, param = await fault("/chat", json=asked)
    assert (status, param) == (400, "seed")


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "user", "content": "a", "reasoning_content": "b"}, "messages[0].reasoning_content"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
            "messages[0].content[0].cache_control",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "format": "png"}}]},
            "messages[0].content[0].image_url.format",
        ),
    ],
)
async def test_an_unknown_field_at_any_depth_is_left_out_and_named_by_its_own_path(
    message: dict[str, Any], path: str
) -> None:
    asked = {"model": "m", "messages": [message], "keep_alive": 5, "mirostat": 2, "chat_template_kwargs": {}}
    async with client(strict=False) as c:
        answer = await c.post("/chat", json=asked)
    assert answer.status_code == 200
    assert answer.headers["x-ignored"].split() == [path, "keep_alive", "mirostat", "chat_template_kwargs"]
    refused = await fault("/chat", json={"model": "m", "messages": [message]})
    assert refused == (400, "unsupported_parameter", path)


@pytest.mark.parametrize("slip", ["promt", "prompts", "pormpt", "promqt"])
async def test_a_slip_of_the_pen_is_refused_with_the_name_that_is_meant(slip: str) -> None:
    async with client(strict=False) as c:
        answer = await c.post("/generation", json={"prompt": "a", slip: "b"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, slip)
    assert "prompt may be meant" in error["message"]


async def test_values_that_ask_for_nothing_in_particular_are_absent() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    async with client() as c:
        plain = await c.post("/chat", json=asked)
        neutral = await c.post("/chat", json={**asked, "seed": -1, "stop": "", "max_tokens": -1})
        form = (await c.post("/generation", data={"prompt": "a", "size": "", "seed": "-1"})).json()
    assert neutral.json() == plain.json()
    assert (form["size"], form["seed"]) == ("auto", None)


async def test_a_whole_number_with_a_point_is_an_integer() -> None:
    async with client() as c:
        assert (await c.post("/generation", json={"prompt": "a", "n": 2.0})).json()["n"] == 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_an_object_under_the_content_type_of_curl_is_json(kind: str) -> None:
    async with client() as c:
        answer = await c.post("/generation", content=b' {"prompt": "a=b&c"}', headers={"content-type": kind})
    assert answer.json()["prompt"] == "a=b&c"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_packed_bodies_are_read_within_the_same_limits(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    async with client() as c:
        answer = await c.post("/generation", content=pack(b'{"prompt": "a"}'), headers=headers)
    assert answer.json()["prompt"] == "a"
    bomb = pack(b'{"prompt": "' + b"a" * (100 << 20) + b'"}')
    assert await fault("/generation", content=bomb, headers=headers) == (413, "request_too_large", None)
    assert await fault("/generation", content=b"{}", headers=headers) == (400, "invalid_body", None)


async def test_another_content_encoding_is_415_by_name() -> None:
    answer = await fault("/generation", json={"prompt": "a"}, headers={"content-encoding": "br"})
    assert answer == (415, "unsupported_media_type", "Content-Encoding")


async def test_numbered_file_parts_are_a_list_in_their_order() -> None:
    async with client() as c:
        answer = await c.post("/files", files=[("image[1]", ("b", b"22")), ("image[0]", ("a", b"1"))])
    assert answer.json() == [["a", 1], ["b", 2]]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 400 + ".0"])
async def test_a_number_that_is_not_finite_is_refused_by_its_name(number: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": [1.5, "NUMBER"]}}}
    said = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [tool]}
    text = json.dumps(said).replace('"NUMBER"', number)
    lora = f'{{"name": "a", "weight": {number}}}'
    headers = {"content-type": "application/json"}
    where = "tools[0].function.parameters.enum[1]"
    assert await fault("/chat", content=text, headers=headers) == (400, "invalid_value", where)
    assert (await fault("/generation", content=f'{{"prompt": "a", "x": {number}}}', headers=headers))[2] == "x"
    assert (await fault("/generation", data={"prompt": "a", "loras": lora}))[2] == "loras[0].weight"


async def test_a_number_that_is_not_finite_is_none_of_a_form() -> None:
    assert (await fault("/generation", data={"prompt": "a", "guidance": "nan"}))[2] == "guidance"


@pytest.mark.parametrize("text", ["kinds=a&kinds=b", "kinds[]=a&kinds[]=b", "kinds%5B%5D=a&kinds%5B%5D=b"])
async def test_lists_in_a_query_are_written_as_in_a_form(text: str) -> None:
    async with client() as c:
        assert (await c.post(f"/asked?{text}&limit=2")).json() == {"kinds": ["a", "b"], "limit": 2}
        assert (await c.post("/asked?kinds=a")).json()["kinds"] == ["a"]
    assert await fault("/asked?limit=1&limit=2") == (400, "invalid_value", "limit")
