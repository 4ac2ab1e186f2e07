"""Functions that an answer may call, in whichever dialect a caller describes them: what a chat job has of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.ingress.errors import invalid
from deployments.ingress.requests import json_schemas
from models.tasks import Tool


@dataclass(frozen=True)
class OfferedFunction:
    """A function of a request. `where` is the path of its `parameters`, by which errors call them."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None
    where: str


@dataclass(frozen=True)
class Choice:
    """What a caller has said of calls: may the model, must it not, or must it; and of which functions, None: of all.

    `where` is the field that names them; with `hides_others` the model is not offered the others either.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] | None = None
    where: str = "tool_choice"
    hides_others: bool = False


async def plan_tools(offered: Sequence[OfferedFunction], choice: Choice) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """What the model is offered, and the names of what it has to call one of.

    Raises:
        ApiError: 400 naming `tools`, `parameters`, or the field of the choice.
    """
    for each in offered:
        if each.parameters is not None and each.parameters.get("type", "object") != "object":
            raise invalid(each.where, f"{each.where}: arguments are an object; give a schema of the type object")
    names = [each.name for each in offered]
    if doubled := next((name for name, count in Counter(names).items() if count > 1), None):
        raise invalid("tools", f"tools: {doubled!r} is there more than once")
    wanted = _wanted(choice, names)
    if choice.mode == "none":
        return (), ()
    chosen = [each for each in offered if each.name in wanted or not choice.hides_others]
    must_call = wanted if choice.mode == "required" else {}
    for each in chosen:
        if each.name in must_call and each.parameters is not None:  # what is not held to a schema may have any
            await json_schemas.check(each.parameters, each.where)
    return tuple(_tool(each) for each in chosen), tuple(must_call)


def _wanted(choice: Choice, names: Sequence[str]) -> dict[str, None]:
    """The names that the choice is about, in order."""
    wanted = dict.fromkeys(names if choice.names is None else choice.names)
    if choice.names is not None or choice.mode == "required":
        if not wanted:
            raise invalid(choice.where, f"{choice.where}: no tools given")
        if missing := wanted.keys() - set(names):
            raise invalid(choice.where, f"{choice.where}: there is no {min(missing)!r} among the tools")
    return wanted


def _tool(function: OfferedFunction) -> Tool:
    if function.parameters is None:
        return Tool(function.name, function.description, strict=function.strict)
    return Tool(function.name, function.description, function.parameters, function.strict)
