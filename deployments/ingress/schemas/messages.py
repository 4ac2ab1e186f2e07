"""Fields of `POST /v1/messages`, Anthropic's dialect of chat (docs/http-api.md, "Messages")."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from deployments.ingress.requests.body import Fields
from deployments.ingress.schemas.chat import MAX_MESSAGES, MAX_TOOLS


class TextBlock(Fields):
    """Text."""

    type: Literal["text"]
    text: str


class ImageFrom(Fields):
    """Where a picture is: base64 in `data`, or behind a URL where fetching is allowed."""

    type: Literal["base64", "url"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ImageBlock(Fields):
    """A picture."""

    type: Literal["image"]
    source: ImageFrom


class ToolUseBlock(Fields):
    """A call that an assistant made."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, Any] = Field(default_factory=dict)


ResultContent = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ToolResultBlock(Fields):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: str | list[ResultContent] | None = None
    is_error: bool = False


class ThinkingBlock(Fields):
    """What another model thought, sent again; it is not read."""

    type: Literal["thinking"]
    thinking: str = ""
    signature: str = ""


class RedactedThinkingBlock(Fields):
    """The same, which nobody can read."""

    type: Literal["redacted_thinking"]
    data: str = ""


Block = Annotated[
    TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock,
    Field(discriminator="type"),
]


class MessageParam(Fields):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolParam(Fields):
    """A function that an answer may call; `type` names one of Anthropic's own where it is not `custom`."""

    type: str = "custom"
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceParam(Fields):
    """Whether a tool may, must or must not be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class OutputFormat(Fields):
    """The schema that the answer satisfies."""

    type: Literal["json_schema"]
    # `schema` is a method of pydantic's models
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class OutputConfig(Fields):
    """What an answer looks like; `effort` is read and not used."""

    format: OutputFormat | None = None
    effort: str | None = None


class Thinking(Fields):
    """Whether the model is to think first, which none does here."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class CountTokens(Fields):
    """`POST /v1/messages/count_tokens`."""

    neutral: ClassVar = {"mcp_servers": ([],), "tools": ([],)}

    model: str
    messages: list[MessageParam] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: str | list[TextBlock] | None = None
    tools: list[ToolParam] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoiceParam | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    # known, so that they are refused by name: they ask for what is not here
    mcp_servers: list[Any] | None = None
    container: Any = None


class CreateMessage(CountTokens):
    """`POST /v1/messages`."""

    neutral: ClassVar = {**CountTokens.neutral, "stop_sequences": ([],)}

    max_tokens: int = Field(ge=1)
    stop_sequences: list[str] | None = Field(None, max_length=64)
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int | None = Field(None, ge=1)
    stream: bool = False
    # read, without effect
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
