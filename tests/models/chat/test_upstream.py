"""Answers of another server: a real one of this project's own, and ones that are down, slow, broken or talk rubbish."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest
from PIL import Image

from cli.environment import free_ports
from deployments.ingress.errors import from_exception
from models.catalog import check_checkpoint, check_options, create_engine
from models.chat.engines.upstream import UpstreamEngine
from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidImage, InvalidInput, UpstreamFailed
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, Usage
from tests.models.chat.asking_upstream import KEY, ask, deltas, entry, loaded, user
from tests.servers import Server
from tests.upstreams import FINE, chunk, pretending, saying

QUESTION = "What colour is the background?"


def plain(colour: str) -> Image.Image:
    return Image.new("RGB", (64, 64), colour)


def answer(engine: UpstreamEngine, job: ChatJob) -> str:
    return "".join(delta.text for delta in deltas(engine, job))


@pytest.fixture(scope="module")
def atelier(server: Server) -> Iterator[UpstreamEngine]:
    with loaded(f"{server.url}/v1") as engine:
        yield engine


def test_a_real_servers_answer_comes_in_pieces_with_its_end_and_usage(atelier: UpstreamEngine) -> None:
    *pieces, last = deltas(atelier, ask(plain("blue"), "Describe this image."))
    assert len(pieces) > 1
    assert all(piece.text and piece.finish_reason is None and piece.usage is None for piece in pieces)
    assert last.finish_reason == "stop"
    assert last.usage is not None
    assert last.usage.prompt_tokens > last.usage.image_tokens > 0
    assert last.usage.completion_tokens > 0


def test_pictures_arrive_in_their_order(atelier: UpstreamEngine) -> None:
    def said(*colours: str) -> str:
        return answer(atelier, ask(*(plain(colour) for colour in colours), "What is in each picture?"))

    assert len({said("blue", "yellow"), said("yellow", "blue"), said("blue", "blue")}) == 3


def test_a_limit_of_tokens_is_the_upstreams_too(atelier: UpstreamEngine) -> None:
    last = deltas(atelier, ask(plain("blue"), "Describe this image.", max_tokens=2))[-1]
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 2


def test_a_stop_text_is_cut_off(atelier: UpstreamEngine) -> None:
    whole = answer(atelier, ask(plain("blue"), "Describe this image."))
    stop = whole[5:8]
    assert answer(atelier, ask(plain("blue"), "Describe this image.", stop=(stop,))) == whole[: whole.index(stop)]


def test_a_seed_repeats_its_answer(atelier: UpstreamEngine) -> None:
    def drawn(seed: int) -> str:
        return answer(atelier, ask(plain("blue"), "Describe", temperature=2.0, seed=seed, max_tokens=12))

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_one_of_several_texts_is_answered_bare(atelier: UpstreamEngine) -> None:
    *pieces, last = deltas(atelier, ask(plain("blue"), QUESTION, form=("Orange", "Blue")))
    assert not pieces
    assert last.text in ("Orange", "Blue")
    assert last.finish_reason == "stop"


def test_a_schema_is_kept_to(atelier: UpstreamEngine) -> None:
    form = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    assert json.loads(answer(atelier, ask(plain("blue"), QUESTION, form=form)))["colour"] in ("red", "blue")


def test_there_are_log_probabilities_for_every_token(atelier: UpstreamEngine) -> None:
    out = deltas(atelier, ask(plain("blue"), QUESTION, top_logprobs=2))
    told = [one for delta in out for one in delta.logprobs]
    assert b"".join(one.bytes for one in told).decode() == "".join(delta.text for delta in out)
    assert all(one.logprob <= 0 and len(one.top) == 2 for one in told)


def test_what_the_upstream_refuses_is_the_callers_fault(atelier: UpstreamEngine) -> None:
    with pytest.raises(InvalidInput) as caught:
        deltas(atelier, ask("colour? " * 4000))
    assert caught.value.code == "context_length_exceeded"
    assert from_exception(caught.value).status == 400


def test_a_model_that_the_upstream_has_not_is_no_fault_of_the_caller(server: Server) -> None:
    engine = create_engine(entry(f"{server.url}/v1", model="nobody"))
    engine.load()
    with pytest.raises(UpstreamFailed, match="nobody"):
        deltas(engine, ask("Hello"))  # type: ignore[arg-type]
    engine.unload()


def test_everything_of_the_job_is_passed_on() -> None:
    job = ChatJob(
        (Message("system", (TextPart("be short"),)), user("first", plain("red"), "second", plain("blue"))),
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.1,
        logit_bias={17: -5.0},
        top_k=40,
        min_p=0.05,
        form={"type": "object", "properties": {"a": {"type": "string"}}},
        top_logprobs=3,
    )
    with (
        pretending(FINE) as pretender,
        loaded(pretender.url, api_key=KEY, headers={"x-tenant": "atelier"}) as engine,
    ):
        assert answer(engine, job) == "Hello"
    (asked,) = pretender.asked
    messages = asked.pop("messages")
    assert asked == {
        "model": "vlm-fast",
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 5,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.1,
        "logit_bias": {"17": -5.0},
        "top_k": 40,
        "min_p": 0.05,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}},
                    "additionalProperties": False,
                },
            },
        },
        "logprobs": True,
        "top_logprobs": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert messages[0] == {"role": "system", "content": "be short"}
    assert [part["type"] for part in messages[1]["content"]] == ["text", "image_url", "text", "image_url"]
    assert messages[1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert pretender.headers[0]["authorization"] == f"Bearer {KEY}"
    assert pretender.headers[0]["x-tenant"] == "atelier"


def test_what_a_job_does_not_say_is_not_sent() -> None:
    with pretending(FINE) as pretender, loaded(pretender.url) as engine:
        deltas(engine, ask("Hello"))
    assert pretender.asked[0].keys() == {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"}


def test_an_upstream_that_tells_no_usage_is_counted_as_nothing() -> None:
    with pretending(FINE) as pretender, loaded(pretender.url) as engine:
        assert deltas(engine, ask("Hello"))[-1] == ChatDelta("", "stop", Usage(0, 0))


def test_a_server_that_passes_over_forms_may_still_say_the_text() -> None:
    said = saying(chunk(" Blue\n"), chunk(end="stop"), "[DONE]")
    with pretending(said) as pretender, loaded(pretender.url) as engine:
        assert answer(engine, ask("Hello", form=("Red", "Blue"))) == "Blue"
        with pytest.raises(UpstreamFailed, match="none of the texts"):
            deltas(engine, ask("Hello", form=("Red", "Green")))


def test_answers_are_waited_for_side_by_side() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        FINE(handler)

    with pretending(meet) as pretender, loaded(pretender.url) as engine, ThreadPoolExecutor(4) as callers:
        assert list(callers.map(lambda _: answer(engine, ask("Hello")), range(4))) == ["Hello"] * 4


def test_it_loads_while_the_upstream_is_down_and_takes_no_memory() -> None:
    (port,) = free_ports(1)
    check_checkpoint(entry(f"http://127.0.0.1:{port}/v1", model="./no/such/folder"))
    with loaded(f"http://127.0.0.1:{port}/v1") as engine:
        assert engine.footprint == 0


def test_a_key_is_read_from_the_environment_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_UPSTREAMS_KEY", f" {KEY}\n")
    with pretending(FINE) as pretender, loaded(pretender.url, api_key_env="SOME_UPSTREAMS_KEY") as engine:
        deltas(engine, ask("Hello"))
    assert pretender.headers[0]["authorization"] == f"Bearer {KEY}"
    monkeypatch.delenv("SOME_UPSTREAMS_KEY")
    with pytest.raises(CheckpointError, match="SOME_UPSTREAMS_KEY, which is not set"):
        create_engine(entry(pretender.url, api_key_env="SOME_UPSTREAMS_KEY")).load()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "options.base_url: is missing"),
        ({"base_url": "ftp://somewhere"}, "options.base_url"),
        ({"base_url": "http://a/v1", "api_key": "a", "api_key_env": "A"}, "exclude each other"),
        ({"base_url": "http://a/v1", "timeout": 0}, "options.timeout"),
        ({"base_url": "http://a/v1", "url": "b"}, "options.url"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_options(ModelEntry.model_validate({"engine": "upstream", "checkpoint": "m", "options": options}))


def test_a_damaged_picture_is_named_by_its_place() -> None:
    with loaded("http://127.0.0.1:9/v1") as engine, pytest.raises(InvalidImage) as caught:
        engine.stream(ChatJob((user("one"), Message("user", (ImagePart(b"no picture"),)))), lambda: False)
    assert caught.value.param == "messages[1].content[0]"
