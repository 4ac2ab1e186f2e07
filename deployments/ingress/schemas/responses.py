"""Fields of `POST /v1/responses` and of its relatives (docs/http-api.md, "Responses API")."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, TypeAdapter, model_validator

from deployments.ingress.requests.body import Fields
from deployments.ingress.schemas.chat import MAX_MESSAGES, MAX_TOOLS
from deployments.ingress.schemas.images import MAX_SEED, Quality

ItemStatus = Literal["in_progress", "completed", "incomplete", "generating", "failed"]
INCLUDABLE: Final = (
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
)
"""What `include` may name. The first adds something; the others belong to what is not served, or is there anyway."""


_LONGEST_ID: Final = 256
_ID: Final = r"^[^\x00]*$"
"""What no database takes is no id."""


class InputText(Fields):
    """Words."""

    type: Literal["input_text"]
    text: str


class InputImage(Fields):
    """A picture: a data URL, http(s) where fetching is allowed, or the name of an upload."""

    type: Literal["input_image"]
    image_url: str | None = Field(None, min_length=1)
    file_id: str | None = Field(None, min_length=1, description="name of an upload: what follows `/i/` in its URL")
    detail: Literal["auto", "low", "high", "original"] = "auto"


class OutputText(Fields):
    """Words of an assistant, as a response has them."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Refusal(Fields):
    """Words in which an assistant refused."""

    type: Literal["refusal"]
    refusal: str


MessageContent = Annotated[InputText | InputImage | OutputText | Refusal, Field(discriminator="type")]
ResultContent = Annotated[InputText | InputImage, Field(discriminator="type")]


class _Item(Fields):
    id: str | None = Field(None, min_length=1, max_length=_LONGEST_ID, pattern=_ID)


class MessageItem(_Item):
    """A message, of whichever side."""

    type: Literal["message"]
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[MessageContent]
    status: ItemStatus | None = None
    phase: str | None = None


class FunctionCallItem(_Item):
    """A call that an assistant made."""

    type: Literal["function_call"]
    call_id: str
    name: str = Field(min_length=1)
    arguments: str
    status: ItemStatus | None = None


class FunctionResultItem(_Item):
    """What a call gave: text, or parts with pictures among them."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[ResultContent]
    status: ItemStatus | None = None


class ReasoningItem(_Item):
    """What a model of another server thought: read and left out."""

    type: Literal["reasoning"]
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class PictureItem(_Item):
    """A picture that was drawn: `result` is its base64; with an `id` alone, the one that is stored under it."""

    type: Literal["image_generation_call"]
    result: str | None = None
    status: ItemStatus | None = None
    action: Literal["generate", "edit", "auto"] | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    revised_prompt: str | None = None
    seed: int | None = None
    size: str | None = None
    error: dict[str, Any] | None = None


class ItemReference(Fields):
    """An item of a stored response, input or output."""

    type: Literal["item_reference"]
    id: str = Field(min_length=1, max_length=_LONGEST_ID, pattern=_ID)


Item = MessageItem | FunctionCallItem | FunctionResultItem | ReasoningItem | PictureItem | ItemReference
InputItem = Annotated[Item, Field(discriminator="type")]
STORED_ITEM: Final[TypeAdapter[Item]] = TypeAdapter(InputItem)


class FunctionTool(Fields):
    """A function that the answer may call; `parameters` is a JSON schema of the object of its arguments."""

    type: Literal["function"]
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class MaskReference(Fields):
    """A mask: a data URL, http(s) where fetching is allowed, or the name of an upload."""

    image_url: str | None = Field(None, min_length=1)
    file_id: str | None = Field(None, min_length=1)


class ImageTool(Fields):
    """Drawing, which the server does itself."""

    neutral: ClassVar = {"seed": (-1,), "size": ("",)}

    type: Literal["image_generation"]
    model: str | None = Field(None, description="alias; the default image model when absent")
    action: Literal["auto", "generate", "edit"] = "auto"
    background: Literal["auto", "opaque", "transparent"] = "auto"
    guidance: float | None = Field(None, ge=0, le=20)
    input_image_mask: MaskReference | None = None
    moderation: Literal["auto", "low"] = "auto"
    negative_prompt: str | None = Field(None, max_length=32_000)
    output_compression: int = Field(100, ge=0, le=100)
    output_format: Literal["png", "jpeg", "webp"] = "png"
    partial_images: int = Field(0, ge=0, le=3)
    quality: Quality = Field("auto", validate_default=True)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    size: str = "auto"
    steps: int | None = Field(None, ge=1, le=150)


ResponseTool = Annotated[FunctionTool | ImageTool, Field(discriminator="type")]


class ChosenFunction(Fields):
    """A function that has to be called."""

    type: Literal["function"]
    name: str


class ChosenImageTool(Fields):
    """Drawing has to be done: from the last words of the user, without asking the chat model."""

    type: Literal["image_generation"]


ChosenTool = Annotated[ChosenFunction | ChosenImageTool, Field(discriminator="type")]


class AllowedTools(Fields):
    """Some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ChosenTool] = Field(max_length=MAX_TOOLS)


class TextFormat(Fields):
    """Free text, any JSON object, or JSON of a schema: kept to token by token."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    # `schema` is a method of pydantic's models
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextSettings(Fields):
    """How the words look."""

    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(Fields):
    """Read, without effect."""

    effort: str | None = None
    summary: str | None = None


class ResponseStreamOptions(Fields):
    """Read, without effect: nothing here makes the length of an answer's pieces a secret worth hiding."""

    include_obfuscation: bool | None = None


class CreateResponse(Fields):
    """`POST /v1/responses`."""

    neutral: ClassVar = {"max_output_tokens": (-1,), "background": (False,), "conversation": ("",)}

    model: str
    input: str | Annotated[list[InputItem], Field(max_length=MAX_MESSAGES)] | None = Field(
        None, description="a text, or items in order"
    )
    instructions: str | None = None
    previous_response_id: str | None = Field(None, min_length=1, max_length=_LONGEST_ID, pattern=_ID)
    stream: bool = False
    store: bool = Field(True, description="keep it, so that a request can go on from it")
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: list[str] | None = None
    text: TextSettings | None = None
    tools: list[ResponseTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | ChosenImageTool | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = Field(None, ge=1, description="calls of tools that the server runs")
    truncation: Literal["auto", "disabled"] = Field(
        "disabled", description="auto: the oldest messages are left out where the model does not hold all"
    )
    metadata: dict[str, str] | None = Field(None, max_length=16)
    # known, so that they are refused by name: they ask for what is not here
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    # read, without effect
    stream_options: ResponseStreamOptions | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _types_may_be_left_out(cls, values: Any) -> Any:
        """A message without its type, and a reference without one, are what SDKs allow."""
        if not isinstance(values, dict) or not isinstance(values.get("input"), list):
            return values
        return {**values, "input": [_typed(item) for item in values["input"]]}


def _typed(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") is not None:
        return item
    if "role" in item:
        return {**item, "type": "message"}
    return {**item, "type": "item_reference"} if item.keys() <= {"id", "type"} and item else item


class RetrieveResponse(Fields):
    """Query of `GET /v1/responses/{response_id}`."""

    stream: bool = Field(False, description="its events once more, of each text in one piece")
    starting_after: int | None = Field(None, ge=0, description="of the events those after this sequence number")
    include: list[str] | None = None
    include_obfuscation: bool | None = None


class ListItems(Fields):
    """Query of `GET /v1/responses/{response_id}/input_items`."""

    after: str | None = Field(None, max_length=256, description="the last id of the page before")
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    include: list[str] | None = None
