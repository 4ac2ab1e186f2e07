"""Requests in Anthropic's dialect as jobs for a chat model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deployments.executors import COMPUTING
from deployments.ingress.errors import invalid
from deployments.ingress.requests.pictures import from_base64
from deployments.ingress.schemas.messages import (
    CountTokens,
    CreateMessage,
    ImageBlock,
    MessageParam,
    TextBlock,
    ToolChoiceParam,
    ToolParam,
    ToolResultBlock,
    ToolUseBlock,
)
from deployments.ingress.services.chat_jobs import PictureReader, form_of
from deployments.ingress.services.chat_tools import Choice, OfferedFunction, plan_tools
from deployments.ingress.services.drawn_pictures import images_of
from models.chat.calls import json_arguments
from models.tasks import ChatJob, ImagePart, Message, TextPart, ToolCall
from settings import Settings

Part = TextPart | ImagePart


async def message_job(params: CreateMessage, settings: Settings) -> ChatJob:
    """The job of a request.

    Raises:
        ApiError: 400 naming the field that asks for what there is not.
    """
    if any(not text for text in params.stop_sequences or ()):
        raise invalid("stop_sequences", "stop_sequences: one of them is empty")
    read = await _read(params, settings)
    return ChatJob(
        **read,
        max_tokens=params.max_tokens,
        temperature=params.temperature or 0.0,
        top_p=params.top_p,
        top_k=params.top_k,
        stop=tuple(params.stop_sequences or ()),
    )


async def counting_job(params: CountTokens, settings: Settings) -> ChatJob:
    """A job that reads what a request's would, and writes nothing to speak of. Raises as `message_job`."""
    read = await _read(params, settings)
    return ChatJob(messages=read["messages"], tools=read["tools"], max_tokens=1)


async def _read(params: CountTokens, settings: Settings) -> dict[str, Any]:
    """Messages, tools and form of a job."""
    if params.mcp_servers is not None:
        raise invalid("mcp_servers", "mcp_servers: this server calls no others", "unsupported_parameter")
    if params.container is not None:
        raise invalid("container", "container: this server runs no code", "unsupported_parameter")
    tools, must_call = await plan_tools(_offered(params.tools or ()), _choice(params.tool_choice))
    config = params.output_config
    wanted = params.output_format or (config.format if config is not None else None)
    where = "output_format.schema" if params.output_format is not None else "output_config.format.schema"
    choice = params.tool_choice
    return {
        "messages": await _messages(params, settings),
        "tools": tools,
        "must_call": must_call,
        "calls_several": False if choice is not None and choice.disable_parallel_tool_use else None,
        "form": None if wanted is None else await form_of("json_schema", wanted.json_schema, where),
    }


def _offered(given: Sequence[ToolParam]) -> list[OfferedFunction]:
    offered = []
    for i, tool in enumerate(given):
        if tool.type != "custom":
            message = f"tools[{i}].type: {tool.type[:60]!r} is not served here; allowed: custom"
            raise invalid(f"tools[{i}].type", message)
        where = f"tools[{i}].input_schema"
        offered.append(OfferedFunction(tool.name, tool.description, tool.input_schema, tool.strict, where))
    return offered


def _choice(given: ToolChoiceParam | None) -> Choice:
    match given:
        case None | ToolChoiceParam(type="auto"):
            return Choice()
        case ToolChoiceParam(type="none"):
            return Choice("none")
        case ToolChoiceParam(type="any"):
            return Choice("required")
        case _ if given.name is None:
            message = "tool_choice.name is required with the type tool"
            raise invalid("tool_choice.name", message, "missing_required_parameter")
        case _:
            return Choice("required", (given.name,), "tool_choice.name")


async def _messages(params: CountTokens, settings: Settings) -> tuple[Message, ...]:
    pictures = PictureReader(settings)
    system = [TextBlock(type="text", text=params.system)] if isinstance(params.system, str) else params.system or []
    told: list[Message] = []
    if words := "\n\n".join(block.text for block in system if block.text):
        told.append(Message("system", (TextPart(words),)))
    drawn: list[Part] = []
    """Pictures of an assistant's answer, which models look at in the next message of the user."""
    for i, message in enumerate(params.messages):
        where = f"messages[{i}].content"
        if isinstance(message.content, str):
            parts: list[Part] = [TextPart(message.content)] if message.content else []
            calls: list[ToolCall] = []
        else:
            results = await _results(message, where, pictures)
            for j, result in enumerate(results):
                if drawn and images_of([result]):  # pictures stay in the order in which they came
                    results[j] = replace(result, parts=(*drawn, *result.parts))
                    drawn = []
            told += results
            parts, calls = await _parts(message, where, pictures)
        if message.role == "assistant":
            drawn += [part for part in parts if isinstance(part, ImagePart)]
            parts = [part for part in parts if isinstance(part, TextPart)]
        elif message.role == "user":
            parts, drawn = [*drawn, *parts], []
            if not parts and not _has_results(message):
                raise invalid(where, f"{where} is empty")
        if parts or calls:
            told.append(Message(message.role, tuple(parts), tuple(calls)))
    if params.messages[-1].role != "user":
        last = f"messages[{len(params.messages) - 1}].role"
        raise invalid(last, f"{last}: the last message is the user's; an answer that is begun is not continued here")
    return tuple(told)


def _has_results(message: MessageParam) -> bool:
    return any(isinstance(block, ToolResultBlock) for block in message.content)


async def _results(message: MessageParam, where: str, pictures: PictureReader) -> list[Message]:
    """The results of calls in a message, which stand before what else it says."""
    told = []
    for j, block in enumerate(message.content):
        if not isinstance(block, ToolResultBlock):
            continue
        if message.role != "user":
            raise invalid(f"{where}[{j}]", f"{where}[{j}]: a user sends tool_result, not the role {message.role}")
        parts: list[Part] = [TextPart("Error:")] if block.is_error else []
        if isinstance(block.content, str):
            parts.append(TextPart(block.content))
        else:
            for k, each in enumerate(block.content or []):
                parts.append(await _part(each, f"{where}[{j}].content[{k}]", pictures))
        told.append(Message("tool", tuple(parts), call_id=block.tool_use_id))
    return told


async def _parts(message: MessageParam, where: str, pictures: PictureReader) -> tuple[list[Part], list[ToolCall]]:
    """Words, pictures and calls of a message; what was thought is left out."""
    parts: list[Part] = []
    calls = []
    for j, block in enumerate(message.content):
        if isinstance(block, TextBlock | ImageBlock):
            parts.append(await _part(block, f"{where}[{j}]", pictures))
        elif isinstance(block, ToolUseBlock):
            if message.role != "assistant":
                raise invalid(f"{where}[{j}]", f"{where}[{j}]: an assistant calls tools, not the role {message.role}")
            calls.append(ToolCall(block.id, block.name, json_arguments(block.input)))
    return [part for part in parts if not isinstance(part, TextPart) or part.text], calls


async def _part(block: TextBlock | ImageBlock, where: str, pictures: PictureReader) -> Part:
    if isinstance(block, TextBlock):
        return TextPart(block.text)
    source, wanted = block.source, "data" if block.source.type == "base64" else "url"
    place = f"{where}.source.{wanted}"
    if getattr(source, wanted) is None:
        raise invalid(place, f"{place} is required with the type {source.type}", "missing_required_parameter")
    if source.url is not None and source.type == "url":
        return await pictures.read(source.url, place)
    assert source.data is not None
    return await pictures.check(await COMPUTING.run(from_base64, source.data, place), place)
