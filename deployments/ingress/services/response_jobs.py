"""Requests of the Responses API as jobs for a chat model, and what a response says of its request."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from deployments.ingress.errors import invalid
from deployments.ingress.middleware.access import Caller
from deployments.ingress.requests.pictures import data_url
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES
from deployments.ingress.schemas.responses import (
    INCLUDABLE,
    AllowedTools,
    ChosenFunction,
    ChosenImageTool,
    CreateResponse,
    FunctionTool,
    ImageTool,
    Item,
    ItemReference,
    MessageItem,
    PictureItem,
    TextSettings,
)
from deployments.ingress.services.chat_jobs import DEFAULT_TOKENS, form_of
from deployments.ingress.services.chat_tools import Choice, OfferedFunction, plan_tools
from deployments.ingress.services.response_conversation import Conversation, picture_count
from deployments.ingress.services.stored_responses import StoredResponses
from models.tasks import ChatJob
from settings import Settings
from stores.objects import PublicStore
from stores.responses import StoredItem

FIELDS: Final[Mapping[str, str]] = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
"""What chat models call a field: what this API does."""
_GREEDY: Final = 0.0
_PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "image_generation_call": "ig",
}
"""How the ids of items begin that were sent without one."""


async def read_conversation(
    params: CreateResponse, caller: Caller, settings: Settings, files: PublicStore, stored: StoredResponses
) -> tuple[Conversation, list[Item]]:
    """All that a request is about: its instructions, what was said before, and what is said now.

    The items are those of the input, stored ones in the place of what refers to them.

    Raises:
        ApiError: 400 naming the field that asks for what there is not, 404 for an id that there is not.
    """
    refuse_unsupported(params)
    said: Sequence[Item] = []
    if params.previous_response_id is not None:
        said = await stored.conversation(caller, params.previous_response_id)
    known: dict[str, Item] = {}
    earlier = [await _resolved(item, "previous_response_id", caller, stored, known) for item in said]
    given = params.input if isinstance(params.input, list) else []
    items = [await _resolved(item, f"input[{i}].id", caller, stored, known) for i, item in enumerate(given)]
    surplus = sum(map(picture_count, [*earlier, *items])) - MAX_CHAT_IMAGES
    conversation = Conversation(settings, files, leaves_out=max(surplus, 0))
    if params.instructions:
        conversation.add_text("system", params.instructions)
    for item in earlier:
        await conversation.add(item, "previous_response_id", is_stored=True, is_earlier=True)
    if isinstance(params.input, str) and params.input:
        conversation.add_text("user", params.input)
    for i, item in enumerate(items):
        await conversation.add(item, f"input[{i}]", is_stored=item is not given[i])
    if not conversation.messages or not (params.input or said):
        raise invalid("input", "input is required: a text, or items", "missing_required_parameter")
    return conversation, items


async def job_of(params: CreateResponse, conversation: Conversation, *, draws: bool) -> ChatJob:
    """The job of a request; of what may be called the functions. `draws`: drawing may be called too.

    Raises:
        ApiError: 400 naming the field that asks for what there is not.
    """
    offered, choice = _offered(params.tools or ()), _choice(params)
    is_all_drawing = draws and not offered and choice.names is None
    tools, must_call = ((), ()) if is_all_drawing else await plan_tools(offered, choice)
    wants_logprobs = bool(params.top_logprobs) or INCLUDABLE[0] in (params.include or ())
    return ChatJob(
        messages=conversation.messages,
        max_tokens=params.max_output_tokens or DEFAULT_TOKENS,
        temperature=_GREEDY if params.temperature is None else params.temperature,
        top_p=params.top_p,
        seed=params.seed,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        form=await _form(params.text),
        top_logprobs=(params.top_logprobs or 0) if wants_logprobs else None,
        tools=tools,
        must_call=must_call,
        calls_several=params.parallel_tool_calls,
    )


def head_of(params: CreateResponse) -> dict[str, Any]:
    """What a response says of its request, and the id that it has from now on.

    Fields that were not given have the value that holds without them; none is left out, since the parsers of some
    clients ask for all.
    """
    reasoning, text = params.reasoning, params.text
    shape = text.format if text is not None else None
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": params.instructions,
        "max_output_tokens": params.max_output_tokens,
        "max_tool_calls": params.max_tool_calls,
        "metadata": params.metadata or {},
        "model": params.model,
        "parallel_tool_calls": params.parallel_tool_calls is not False,
        "previous_response_id": params.previous_response_id,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "prompt_cache_key": params.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning is not None else None,
            "summary": reasoning.summary if reasoning is not None else None,
        },
        "safety_identifier": params.safety_identifier,
        "service_tier": "default",
        "store": params.store,
        "temperature": _GREEDY if params.temperature is None else params.temperature,
        "text": {
            "format": {"type": "text"} if shape is None else shape.model_dump(by_alias=True, exclude_none=True),
            "verbosity": text.verbosity if text is not None and text.verbosity is not None else "medium",
        },
        "tool_choice": _echoed_choice(params),
        "tools": [_echoed_tool(tool) for tool in params.tools or ()],
        "top_logprobs": params.top_logprobs or 0,
        "top_p": params.top_p,
        "truncation": params.truncation,
        "usage": None,
        "user": params.user,
    }


def stored_input(
    params: CreateResponse, items: Sequence[Item], fetched: Mapping[str, bytes] = MappingProxyType({})
) -> list[StoredItem]:
    """What is kept of the input: its items, each with an id, and what they refer to. Takes the processor a moment.

    Pictures that were `fetched` are kept in the place of their URLs, which may lead elsewhere, or nowhere, at the next
    turn.
    A reference itself is not kept: it has the id of what it refers to, and would be found in its place.
    """
    if isinstance(params.input, str) and params.input:
        items = [MessageItem(type="message", role="user", content=params.input)]
    return [_to_keep(item, fetched) for item in items]


def _to_keep(item: Item, fetched: Mapping[str, bytes]) -> StoredItem:
    fields = item.model_dump(exclude_none=True)
    fields = {"id": item.id or f"{_PREFIXES[item.type]}_{uuid.uuid4().hex}", **fields}
    if isinstance(item, MessageItem) and isinstance(item.content, str):
        kind = {"type": "output_text", "annotations": []} if item.role == "assistant" else {"type": "input_text"}
        fields["content"] = [{**kind, "text": item.content}]
    for part in _parts(fields):
        if (picture := fetched.get(part.get("image_url", ""))) is not None:
            part["image_url"] = data_url(picture)
    fields.setdefault("status", "completed")
    return StoredItem(fields["id"], json.dumps(fields, ensure_ascii=False))


def _parts(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of an item's content or output, where it has any."""
    parts = fields.get("content") or fields.get("output")
    return parts if isinstance(parts, list) else []


def refuse_unsupported(params: CreateResponse) -> None:
    """Raises ApiError 400 for fields that ask for what is not here."""
    for name, given, instead in (
        ("background", params.background, "a response is made while its request waits, or is streamed"),
        ("conversation", params.conversation, "send previous_response_id, or the items of the conversation"),
        ("prompt", params.prompt, "this server keeps no prompts; send instructions and input"),
    ):
        if given is not None:
            raise invalid(name, f"{name}: {instead}", "unsupported_parameter")


def unknown_includes(params: CreateResponse) -> list[str]:
    """The paths of what `include` names and nobody knows."""
    return [f"include[{i}]" for i, name in enumerate(params.include or ()) if name not in INCLUDABLE]


async def _resolved(item: Item, where: str, caller: Caller, stored: StoredResponses, known: dict[str, Item]) -> Item:
    """The item itself; of a reference, or of a picture that has only its id, the stored one.

    Each is read once: `known` has those that were. Raises ApiError 404 naming `where`.
    """
    is_picture = isinstance(item, PictureItem) and item.result is None
    if not (isinstance(item, ItemReference) or is_picture) or item.id is None:
        return item
    if item.id not in known:
        known[item.id] = await stored.item(caller, item.id, where)
    return known[item.id]


def _offered(tools: Sequence[FunctionTool | ImageTool]) -> list[OfferedFunction]:
    return [
        OfferedFunction(tool.name, tool.description, tool.parameters, tool.strict, f"tools[{i}].parameters")
        for i, tool in enumerate(tools)
        if isinstance(tool, FunctionTool)
    ]


def _choice(params: CreateResponse) -> Choice:
    match params.tool_choice:
        case ChosenFunction(name=name):
            return Choice("required", (name,), "tool_choice.name")
        case AllowedTools() as allowed:
            names = tuple(tool.name for tool in allowed.tools if isinstance(tool, ChosenFunction))
            if not names and allowed.tools:  # drawing, and nothing else
                return Choice("none")
            return Choice(allowed.mode, names, "tool_choice.tools", hides_others=True)
        case None | ChosenImageTool():
            return Choice()
        case mode:
            return Choice(mode)


def _echoed_tool(tool: FunctionTool | ImageTool) -> dict[str, Any]:
    if isinstance(tool, FunctionTool):
        return tool.model_dump()
    return tool.model_dump(exclude_none=True, exclude={"input_image_mask"})  # of megabytes, in three events


def _echoed_choice(params: CreateResponse) -> Any:
    choice = params.tool_choice
    if choice is None:
        return "auto"
    return choice if isinstance(choice, str) else choice.model_dump(exclude_none=True)


async def _form(text: TextSettings | None) -> Mapping[str, Any] | None:
    """The schema that the answer must satisfy."""
    if text is None or text.format is None:
        return None
    shape = text.format
    if shape.type == "json_schema":
        for name, given in (("name", shape.name), ("schema", shape.json_schema)):
            if given is None:
                where = f"text.format.{name}"
                raise invalid(where, f"{where} is required with the type json_schema", "missing_required_parameter")
    return await form_of(shape.type, shape.json_schema, "text.format.schema")
