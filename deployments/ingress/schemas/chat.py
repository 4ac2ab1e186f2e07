"""Fields of `POST /v1/chat/completions` (docs/http-api.md, "Chat")."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from deployments.ingress.requests.body import Fields
from deployments.ingress.schemas.images import MAX_SEED
from models.tasks import MAX_REPETITION_PENALTY

MAX_CHAT_IMAGES = 16
MAX_TOOLS = 1024
MAX_MESSAGES = 10_000
"""Of one request; as many items of the Responses API."""


class ImageUrl(Fields):
    """Where a picture is: a data URL."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] = "auto"


class TextContent(Fields):
    """A text part."""

    type: Literal["text"]
    text: str


class ImageContent(Fields):
    """A picture part."""

    type: Literal["image_url"]
    image_url: ImageUrl


class RefusalContent(Fields):
    """A part in which an assistant refused: words of its own, like others."""

    type: Literal["refusal"]
    refusal: str


Content = Annotated[TextContent | ImageContent | RefusalContent, Field(discriminator="type")]


class CalledFunction(Fields):
    """The name of a function and its arguments, which are JSON text."""

    name: str = Field(min_length=1)
    arguments: str = ""


class MessageToolCall(Fields):
    """A call that an assistant made."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class FunctionDescription(Fields):
    """A function: `parameters` is a JSON schema of the object of its arguments, none by default."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Fields):
    """A function that an answer may call."""

    type: Literal["function"]
    function: FunctionDescription


class FunctionName(Fields):
    """A function among the tools."""

    name: str


class NamedTool(Fields):
    """A tool by its name."""

    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(Fields):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(max_length=MAX_TOOLS)


class ToolChoice(Fields):
    """One function that has to be called, or a selection of the tools."""

    type: Literal["function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


class ChatMessage(Fields):
    """One message. `name` and what assistants add beside calls are read and not used."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Content] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    tool_calls: list[MessageToolCall] | None = Field(None, max_length=MAX_TOOLS)
    tool_call_id: str | None = None


class StreamOptions(Fields):
    """What a stream adds."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class JsonSchema(Fields):
    """A schema that the answer satisfies, whatever `strict` says."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    # `schema` is a method of pydantic's models
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    """Free text, any JSON object, or JSON of a schema: kept to token by token."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatCompletion(Fields):
    """`POST /v1/chat/completions`."""

    neutral: ClassVar = {
        "seed": (-1,),
        "stop": ("",),
        "max_tokens": (-1,),
        "max_completion_tokens": (-1,),
        "top_k": (0, -1),
        "functions": ([],),
        "function_call": ("none",),
    }

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    n: int = Field(1, ge=1, le=128)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    repetition_penalty: float = Field(1, gt=0, le=MAX_REPETITION_PENALTY)
    logit_bias: dict[str, float] = Field(default_factory=dict, description="token id: -100 to 100")
    top_k: int | None = Field(None, ge=1)
    min_p: float = Field(0, ge=0, le=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=MAX_TOOLS)
    modalities: list[str] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    # known, so that they are refused by name: they ask for what is not here
    functions: list[Any] | None = None
    function_call: Any = None
    audio: Any = None
    web_search_options: Any = None
    # read, without effect
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None


class Analysis(Fields):
    """`POST /v1/vision/analyze` (docs/http-api.md, "Vision tasks")."""

    image: str = Field(min_length=1, description="data URL or base64")
    task: Literal["caption", "ocr", "describe", "analyze", "objects", "custom"] = "caption"
    prompt: str | None = Field(None, min_length=1, max_length=32_000, description="with task `custom`: the question")
    max_tokens: int = Field(512, ge=1, le=8192)
    model: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema", description="the result is JSON that fits it")
