"""The tool `image_generation` of the Responses API: drawn at once where that is wanted, else when the model calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from deployments.imaging import Output
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import ApiError, from_exception, invalid, renamed
from deployments.ingress.requests.pictures import read_bytes, read_picture
from deployments.ingress.schemas.images import MAX_PROMPT
from deployments.ingress.schemas.responses import (
    AllowedTools,
    ChosenImageTool,
    CreateResponse,
    FunctionTool,
    ImageTool,
)
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.response_conversation import Conversation
from deployments.ingress.services.server_tools import EDIT, GENERATE, Drawing, EditImage, GenerateImage, Mask
from deployments.ingress.services.tool_loop import LoopEvent, Made, ServerTool, ToolBegun, ToolProgress
from models.errors import InvalidInput, ModelError
from models.tasks import ChatDelta, Tool, ToolCall, Usage
from settings import Settings

_WISHES: Final = ("size", "quality", "seed", "steps", "guidance", "negative_prompt")
"""Fields of the tool that say how a picture is drawn, as those of `POST /v1/images/generations` do."""


@dataclass(frozen=True)
class DrawingPlan:
    """How a response draws. `place` is what errors call the tool: `tools[0]`."""

    drawing: Drawing
    tool: ImageTool
    place: str
    is_forced: bool
    """Whether a picture has to be drawn, and nothing else."""
    is_required: bool
    """Whether the model has to call this tool or another."""
    is_asked: bool = True
    """Whether the request has the tool; if not, its model draws of its own accord."""

    @property
    def looks(self) -> dict[str, Any]:
        """What an item says of its picture before it is there."""
        tool = self.tool
        return {
            "size": tool.size,
            "quality": tool.quality,
            "background": "opaque",
            "output_format": tool.output_format,
        }

    @property
    def fields(self) -> dict[str, str]:
        """What the picture's job calls a field: what this API does."""
        if not self.is_asked:  # there is no tool in the request that could be named
            return dict.fromkeys((*_WISHES, "model", "width", "height", "prompt", "image", "n", "mask"), "input")
        of_tool = {name: f"{self.place}.{name}" for name in (*_WISHES, "model")}
        size = f"{self.place}.size"
        return {
            **of_tool, "width": size, "height": size, "prompt": "input", "image": "input", "n": "input",
            "mask": f"{self.place}.input_image_mask",
        }  # fmt: skip

    @property
    def tools(self) -> list[ServerTool]:
        """What the model may call."""
        makes, changes = GenerateImage(self.drawing), EditImage(self.drawing)
        if self.tool.action == "generate" or not self.drawing.edits:
            own: list[ServerTool] = [makes]
        else:
            own = [changes] if self.tool.action == "edit" else [makes, changes]
        return [_Named(tool, self.fields) for tool in own]

    async def draw(self, conversation: Conversation) -> AsyncGenerator[LoopEvent, None]:
        """A picture of the last words of the user.

        Where there are pictures it is made of those that came with these words, or else of the newest.

        Raises:
            ApiError: 400 where there is nothing to draw from; what the drawing itself raises.
        """
        prompt, pictures = conversation.last_text, self.drawing.pictures
        if prompt is None:
            raise invalid("input", "input: there are no words of a user to draw from", "missing_required_parameter")
        if len(prompt) > MAX_PROMPT:
            raise invalid("input", f"input: {len(prompt)} characters to draw from; at most {MAX_PROMPT} are read")
        action, where = self.tool.action, f"{self.place}.action"
        if action == "edit" and not pictures:
            raise invalid(where, f"{where}: there is no picture in the conversation to edit")
        if action == "auto" and conversation.pictures_of_turn and not self.drawing.edits:
            message = f"{where}: the picture model cannot change the pictures in input; `generate` draws without them"
            raise invalid(where, message)
        changes = action == "edit" or (action == "auto" and bool(pictures) and self.drawing.edits)
        images = _to_change(self.drawing, conversation.pictures_of_turn) if changes else []
        call = ToolCall(f"call_{uuid.uuid4().hex}", EDIT if changes else GENERATE, json.dumps({"prompt": prompt}))
        begun: ToolBegun | None = None
        async with aclosing(_in_terms(self.drawing.make(call, prompt, images), self.fields)) as events:
            async for event in events:
                if isinstance(event, ToolBegun):  # what the model refuses at once can still be a status
                    begun = event
                    continue
                if begun is not None:
                    yield begun
                    begun = None
                yield event
        yield ChatDelta("", "stop", Usage(0, 0))


@dataclass(frozen=True)
class _Named:
    """A tool whose errors name the fields of this API."""

    own: ServerTool
    fields: Mapping[str, str]

    @property
    def tool(self) -> Tool:
        return self.own.tool

    def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        return _in_terms(self.own.run(call, arguments), self.fields)

    def report(self, made: Made) -> str:
        return self.own.report(made)


async def _in_terms(
    events: AsyncGenerator[ToolBegun | ToolProgress | Made, None], fields: Mapping[str, str]
) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
    """The events of a drawing, whose errors name the fields of this API."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except (ApiError, ModelError) as error:
        raise renamed(from_exception(error), fields) from error


def _to_change(drawing: Drawing, count: int) -> list[bytes]:
    """The last `count` pictures, at least the newest; one that has a mask comes first, as models want it."""
    images = drawing.pictures[-max(count, 1) :]
    return images if drawing.mask is None else [images[-1], *images[:-1]]


def uses_own_tools(params: CreateResponse) -> bool:
    """Whether a model made of others may draw and speak in answer to a request that does not have these tools."""
    shape = params.text.format if params.text is not None else None
    is_held = shape is not None and shape.type != "text"
    return not (is_held or params.tool_choice == "none" or isinstance(params.tool_choice, AllowedTools))


async def plan_drawing(
    params: CreateResponse,
    request: Request,
    conversation: Conversation,
    settings: Settings,
    models: ModelCalls,
    jobs: Jobs,
) -> DrawingPlan | None:
    """How a request draws; None where it does not.

    By a model made of others it draws with that one's picture model, unless its tool names another, and without
    the tool too.

    Raises:
        ApiError: 400 naming the field that asks for what there is not, 404 for a model that there is not.
    """
    places = [i for i, tool in enumerate(params.tools or ()) if isinstance(tool, ImageTool)]
    choice, others = params.tool_choice, len(params.tools or ()) - len(places)
    chosen = [choice] if isinstance(choice, ChosenImageTool) else []
    if isinstance(choice, AllowedTools):
        chosen = [tool for tool in choice.tools if isinstance(tool, ChosenImageTool)]
        others = len(choice.tools) - len(chosen)
    if chosen and not places:
        raise invalid("tool_choice", "tool_choice: there is no image_generation among the tools")
    is_hidden = choice == "none" or (isinstance(choice, AllowedTools) and not chosen)
    omni = models.find_omni(params.model)
    own = omni.image if omni is not None else None
    if not places and own is not None and uses_own_tools(params):
        drawing = Drawing(request, models, jobs, settings, own, conversation.pictures)
        unasked = ImageTool(type="image_generation")
        return DrawingPlan(drawing, unasked, "input", is_forced=False, is_required=False, is_asked=False)
    if not places or is_hidden:
        return None
    if len(places) > 1:
        raise invalid(f"tools[{places[1]}]", "tools: image_generation is there more than once")
    for i, each in enumerate(params.tools or ()):
        if isinstance(each, FunctionTool) and each.name in (GENERATE, EDIT):
            where = f"tools[{i}].name"
            raise invalid(where, f"{where}: image_generation is called {each.name!r} here; take another name")
    place, tool = f"tools[{places[0]}]", (params.tools or [])[places[0]]
    assert isinstance(tool, ImageTool)
    is_required = choice == "required" or (isinstance(choice, AllowedTools) and choice.mode == "required")
    if tool.model is None:
        tool = tool.model_copy(update={"model": own})
    drawing = await _drawing(params, request, conversation, settings, models, jobs, tool, place)
    is_forced = isinstance(choice, ChosenImageTool) or (is_required and not others)
    plan = DrawingPlan(drawing, tool, place, is_forced=is_forced, is_required=is_required)
    try:
        drawing.check()
    except (ApiError, InvalidInput) as error:
        raise renamed(from_exception(error), plan.fields) from None
    if tool.action == "edit" and not drawing.edits:
        raise invalid(f"{place}.action", f"{place}.action: {drawing.alias!r} cannot change pictures; allowed: generate")
    return plan


async def _drawing(
    params: CreateResponse,
    request: Request,
    conversation: Conversation,
    settings: Settings,
    models: ModelCalls,
    jobs: Jobs,
    tool: ImageTool,
    place: str,
) -> Drawing:
    if not settings.image_enabled:
        message = f"{place}: pictures are switched off (IMAGE_ENABLED=0)"
        raise ApiError(404, message, code="feature_disabled", param=place)
    if tool.background == "transparent":
        where = f"{place}.background"
        raise invalid(where, f"{where}: the models of this server draw opaque pictures")
    try:
        alias = models.resolve(tool.model, ["image"])
    except ApiError as error:
        error.param = f"{place}.model"
        raise
    pictures = conversation.pictures
    return Drawing(
        request, models, jobs, settings, alias,
        pictures=pictures,
        output=Output(tool.output_format, tool.output_compression, tool.partial_images if params.stream else 0),
        wishes={name: value for name in _WISHES if (value := getattr(tool, name)) is not None},
        mask=await _mask(tool, conversation, pictures, settings, f"{place}.input_image_mask"),
    )  # fmt: skip


async def _mask(
    tool: ImageTool, conversation: Conversation, pictures: Sequence[bytes], settings: Settings, where: str
) -> Mask | None:
    """The mask of the newest picture."""
    given = tool.input_image_mask
    if given is None:
        return None
    if (given.image_url is None) == (given.file_id is None):
        raise invalid(where, f"{where}: give one of image_url and file_id", "missing_required_parameter")
    if not pictures:
        raise invalid(where, f"{where}: there is no picture in the conversation that it could be the mask of")
    if given.image_url is not None:
        mask = await read_picture(given.image_url, settings, f"{where}.image_url")
    else:
        data = await conversation.upload(given.file_id or "", f"{where}.file_id")
        mask = await read_bytes(data, settings, f"{where}.file_id")
    newest = await read_bytes(pictures[-1], settings, "input")
    if (mask.width, mask.height) != (newest.width, newest.height):
        sizes = f"{mask.width}x{mask.height} pixels where the newest picture has {newest.width}x{newest.height}"
        raise invalid(where, f"{where}: {sizes}; both must be of one size")
    return Mask(mask, pictures[-1])
