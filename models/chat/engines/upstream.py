"""Answers of another OpenAI-compatible server (vLLM, Ollama, another Atelier), streamed through."""

from __future__ import annotations

import base64
import json
import os
import queue
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from models.chat.calls import described
from models.chat.engine import ChatEngine
from models.chat.forms import closed
from models.engine import Options
from models.errors import CheckpointError, InvalidInput, UpstreamBusy, UpstreamFailed
from models.outgoing import openai_client
from models.picture_files import read_header
from models.tasks import CallDelta, ChatDelta, ChatJob, FinishReason, ImagePart, TokenLogprob, Usage

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import Choice

    from models.entry import ModelEntry

_ASK_EVERY = 0.1
"""Seconds between two looks at whether the caller has gone, while the upstream says nothing."""
_CONNECT_SECONDS = 10.0
_TOKENS_AROUND_A_CHOICE = 16
"""What `{"answer": ""}` adds to an answer that is one of several texts."""


class UpstreamOptions(Options):
    """Where the upstream is. The catalogue entry's `checkpoint` is what it calls the model."""

    base_url: str = Field(pattern=r"^https?://[^\s/]+", description="of its API, e.g. http://10.0.0.5:8000/v1")
    api_key: SecretStr | None = Field(None, description="its key; better named by api_key_env")
    api_key_env: str | None = Field(
        None, pattern=r"^[A-Za-z_]\w*$", description="environment variable that holds its key"
    )
    timeout: float = Field(120, gt=0, description="seconds of silence after which it counts as broken")
    headers: dict[str, str] = Field(default_factory=dict, description="sent with each request")

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("api_key and api_key_env exclude each other")
        return self


class UpstreamEngine(ChatEngine):
    """A chat model that runs elsewhere. It takes no memory here, and loads whether or not the upstream is up."""

    Options: ClassVar[type[Options]] = UpstreamOptions
    reentrant: ClassVar[bool] = True
    is_on_hub: ClassVar[bool] = False
    is_remote: ClassVar[bool] = True
    options: UpstreamOptions

    @classmethod
    def takes_tools(cls, entry: ModelEntry) -> bool:  # noqa: ARG003
        """All are passed on; nothing is asked of the upstream to know."""
        return True

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece; the upstream is asked when the first piece is wanted.

        Closing the iterator, or a true `is_cancelled()`, closes the connection within a tenth of a second, also while
        the upstream is silent.

        Raises:
            InvalidInput: a picture cannot be read, or the upstream refuses what was asked (400, 413, 422).
            UpstreamBusy: 429.
            UpstreamFailed: it cannot be reached, is silent for too long, breaks off or answers anything else.
        """
        pieces = self._pieces(self._request(job), is_cancelled)
        if job.must_call:
            return self._calling(pieces)
        return self._bare(pieces, job.form) if isinstance(job.form, tuple) else pieces

    def _pieces(self, request: Mapping[str, Any], is_cancelled: Callable[[], bool]) -> Generator[ChatDelta, None, None]:
        heard: queue.SimpleQueue[ChatDelta | Exception] = queue.SimpleQueue()
        listening = self._portal.start_task_soon(self._listen, request, heard.put)
        try:
            while True:
                try:
                    piece = heard.get(timeout=_ASK_EVERY)
                except queue.Empty:
                    if is_cancelled():
                        return
                    continue
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish_reason is not None or is_cancelled():
                    return
        finally:
            listening.cancel()

    async def _listen(self, request: Mapping[str, Any], tell: Callable[[ChatDelta | Exception], None]) -> None:
        """Tell the pieces of an answer, then its end or why there is none."""
        import openai

        ended: Choice | None = None
        usage = Usage(0, 0)
        has_called = False
        try:
            async with await self._client.chat.completions.create(**request) as chunks:
                async for chunk in chunks:
                    usage = _usage(chunk) or usage
                    for choice in (chunk.choices or [])[:1]:
                        calls = _calls(choice)
                        has_called |= bool(calls)
                        if choice.delta.content or calls or (choice.logprobs and choice.finish_reason is None):
                            tell(ChatDelta(choice.delta.content or "", logprobs=_logprobs(choice), calls=calls))
                        if choice.finish_reason is not None:
                            ended = choice
            if ended is None:
                raise UpstreamFailed(f"the server at {self._host} broke its answer off")
            last = () if ended.delta.content else _logprobs(ended)
            # a named function is called with "stop" by some servers
            finished: FinishReason = "tool_calls" if has_called else "stop"
            tell(ChatDelta("", "length" if ended.finish_reason == "length" else finished, usage, last))
        except UpstreamFailed as error:
            tell(error)
        except openai.APIStatusError as error:
            tell(self._refusal(error))
        except openai.APITimeoutError:
            tell(UpstreamFailed(f"the server at {self._host} said nothing for {self.options.timeout:g} s"))
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            tell(UpstreamFailed(f"the server at {self._host} cannot be reached or broke off ({cause})"))
        except openai.APIError as error:  # an error inside the stream
            tell(UpstreamFailed(f"the server at {self._host} failed: {error.message}"))
        except (ValueError, TypeError, AttributeError):  # the SDK believes whatever shape the chunks have
            tell(UpstreamFailed(f"the server at {self._host} does not speak the OpenAI protocol"))

    def _refusal(self, error: openai.APIStatusError) -> Exception:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        message = said if isinstance(said, str) and said else f"it answered {error.status_code}"
        match error.status_code:
            case 400 | 413 | 422:
                return InvalidInput(message, error.param, error.code or "invalid_value")
            case 401 | 403:  # its message may repeat the key
                return UpstreamFailed(f"the server at {self._host} does not accept this server's key")
            case 429:
                return UpstreamBusy(f"the server at {self._host} is busy: {message}")
            case _:
                return UpstreamFailed(f"the server at {self._host} failed: {message}")

    def _bare(self, pieces: Generator[ChatDelta, None, None], texts: tuple[str, ...]) -> Iterator[ChatDelta]:
        """Unwraps what `_request` wrapped. A server that passes over `response_format` may have said the bare text."""
        said = ""
        with closing(pieces):
            for piece in pieces:
                said += piece.text
                if piece.finish_reason is None:
                    continue
                answer = _chosen(said)
                if answer not in texts and piece.finish_reason == "stop":
                    raise UpstreamFailed(f"the server at {self._host} answered none of the texts asked for")
                yield ChatDelta(answer if answer in texts else "", piece.finish_reason, piece.usage)

    def _calling(self, pieces: Generator[ChatDelta, None, None]) -> Iterator[ChatDelta]:
        """The calls alone, since nothing else was asked for. A server that passes over `tool_choice` may make none."""
        has_called = False
        with closing(pieces):
            for piece in pieces:
                has_called |= bool(piece.calls)
                if piece.finish_reason == "stop" and not has_called:
                    raise UpstreamFailed(f"the server at {self._host} called none of the functions, as it had to")
                if piece.calls or piece.finish_reason is not None:
                    yield replace(piece, text="")

    def _request(self, job: ChatJob) -> dict[str, Any]:
        """The arguments of the SDK's call; what says nothing is left out, since not every server knows every field."""
        wished: dict[str, Any] = {
            "top_p": job.top_p if job.top_p < 1 else None,
            "stop": list(job.stop) or None,
            "seed": job.seed,
            "presence_penalty": job.presence_penalty or None,
            "frequency_penalty": job.frequency_penalty or None,
            "logit_bias": {str(token): bias for token, bias in job.logit_bias.items()} or None,
            # not OpenAI's; by the names that vLLM, llama.cpp and SGLang have for them
            "extra_body": _extra_body(job) or None,
        }
        room = job.max_tokens
        if isinstance(job.form, tuple):
            wished["response_format"] = _answer_of(_either(job.form))
            room += _TOKENS_AROUND_A_CHOICE
        elif job.form == {"type": "object"}:
            wished["response_format"] = {"type": "json_object"}
        elif job.form is not None:
            wished["response_format"] = _answer_of(closed(job.form))
        if job.tools:
            wished |= _tools(job)
        if job.top_logprobs is not None:
            wished |= {"logprobs": True, "top_logprobs": job.top_logprobs}
        return {
            "model": self.entry.checkpoint,
            "messages": _messages(job),
            "max_tokens": room,
            "temperature": job.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in wished.items() if value is not None},
        }

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Nothing: the checkpoint is the upstream's, and so is whether it exists."""

    def _load(self) -> None:
        from anyio.from_thread import start_blocking_portal
        from openai import Timeout

        options = self.options
        self._host = urlsplit(options.base_url).netloc.rpartition("@")[2]
        # no retries: those are the caller's; here they would only hold a place in the queue
        self._client = openai_client(
            options.base_url,
            self._key(),
            Timeout(options.timeout, connect=min(_CONNECT_SECONDS, options.timeout)),
            headers=options.headers,
        )
        # one event loop for all requests: connections are kept, and one can be ended while it waits
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.callback(self._portal.call, self._client.close)

    def _key(self) -> str:
        options = self.options
        if options.api_key_env is None:
            return options.api_key.get_secret_value() if options.api_key is not None else "none"
        key = os.environ.get(options.api_key_env, "").strip()
        if not key:
            raise CheckpointError(
                f"the key of {self._host} is wanted from the environment variable {options.api_key_env}, "
                "which is not set"
            )
        return key

    def unload(self) -> None:
        """End the connections."""
        if stack := vars(self).pop("_stack", None):
            stack.close()
        super().unload()


def _messages(job: ChatJob) -> list[dict[str, Any]]:
    """The messages as OpenAI has them, where results of calls are words: their pictures become the user's."""
    converted = []
    held: list[dict[str, Any]] = []
    for i, message in enumerate(job.messages):
        parts: list[dict[str, Any]] = []
        if message.role == "user":
            parts, held = held, []
        elif held and message.role != "tool":
            converted.append({"role": "user", "content": held})
            held = []
        for j, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                media = read_header(part.image, part.name or f"messages[{i}].content[{j}]").media_type
                url = f"data:{media};base64,{base64.b64encode(part.image).decode()}"
                picture = {"type": "image_url", "image_url": {"url": url}}
                (held if message.role == "tool" else parts).append(picture)
            else:
                parts.append({"type": "text", "text": part.text})
        # words alone as plain text: some servers take a list from users only
        plain = len(parts) == 1 and parts[0]["type"] == "text"
        turn: dict[str, Any] = {"role": message.role, "content": parts[0]["text"] if plain else parts}
        if message.calls:
            turn["content"] = turn["content"] or None
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.calls
            ]
        if message.role == "tool":
            turn |= {"tool_call_id": message.call_id or "", "content": turn["content"] or ""}
        converted.append(turn)
    return [*converted, {"role": "user", "content": held}] if held else converted


def _tools(job: ChatJob) -> dict[str, Any]:
    """What says what may be called, and what has to be."""
    tools = [described(tool) for tool in job.tools]
    for told, tool in zip(tools, job.tools, strict=True):
        if tool.strict is not None:
            told["function"]["strict"] = tool.strict
    said: dict[str, Any] = {"tools": tools}
    if len(job.must_call) == 1 and len(job.tools) > 1:
        said["tool_choice"] = {"type": "function", "function": {"name": job.must_call[0]}}
    elif job.must_call:
        said["tool_choice"] = "required"
    if job.calls_several is not None:
        said["parallel_tool_calls"] = job.calls_several
    return said


def _calls(choice: Choice) -> tuple[CallDelta, ...]:
    """The pieces of calls in a chunk. Some servers repeat the name with each."""
    pieces = []
    for call in choice.delta.tool_calls or ():
        function = call.function
        name = function.name if function and call.id else None
        pieces.append(CallDelta(call.index, (function.arguments if function else None) or "", call.id, name))
    return tuple(pieces)


def _extra_body(job: ChatJob) -> dict[str, Any]:
    extra: dict[str, Any] = {} if job.top_k is None else {"top_k": job.top_k}
    if job.min_p > 0:
        extra["min_p"] = job.min_p
    if job.repetition_penalty != 1:
        extra["repetition_penalty"] = job.repetition_penalty
    return extra


def _answer_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}


def _either(texts: tuple[str, ...]) -> dict[str, Any]:
    """A schema for one of the texts: JSON schemas are what servers have in common, vLLM's `guided_choice` is its own.

    Wrapped in an object, since OpenAI wants one at the top.
    """
    properties = {"answer": {"type": "string", "enum": list(texts)}}
    return {"type": "object", "properties": properties, "required": ["answer"], "additionalProperties": False}


def _chosen(said: str) -> str:
    try:
        answer = json.loads(said)["answer"]
    except (ValueError, TypeError, LookupError):
        return said.strip()
    return answer if isinstance(answer, str) else ""


def _usage(chunk: ChatCompletionChunk) -> Usage | None:
    used = chunk.usage
    if used is None:
        return None
    pictures = getattr(used.prompt_tokens_details, "image_tokens", None)  # not OpenAI's; this project's servers tell it
    return Usage(used.prompt_tokens or 0, used.completion_tokens or 0, pictures or 0)


def _logprobs(choice: Choice) -> tuple[TokenLogprob, ...]:
    def entry(one: Any, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        spelled = bytes(one.bytes) if one.bytes is not None else one.token.encode()
        return TokenLogprob(one.token, one.logprob, spelled, top)

    logprobs = (choice.logprobs.content if choice.logprobs else None) or []
    return tuple(entry(one, tuple(entry(other) for other in one.top_logprobs or ())) for one in logprobs)
