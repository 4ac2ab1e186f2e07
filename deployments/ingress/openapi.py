"""`/docs` and `/redoc`, and what they say of bodies that are read by hand, since one route takes several dialects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from deployments.ingress.openapi_examples import ERROR, EXAMPLES, PATHS, Example
from deployments.ingress.policy import Policy, apply

_SCRIPTS: Final = "/static/docs"
_FAVICON: Final = f"{_SCRIPTS}/favicon.png"


def add_pages(app: FastAPI) -> None:
    """Serve both pages with scripts of this server; FastAPI's own load them from a CDN and stay blank offline."""
    scripts = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
    apply(scripts, Policy("anyone"))
    app.mount(_SCRIPTS, scripts)
    for path, page in (("/docs", docs), ("/redoc", redoc)):
        app.add_api_route(path, page, include_in_schema=False)


# FastAPI remembers every endpoint that it has seen: one that held its application would keep that for ever


async def docs(request: Request) -> HTMLResponse:
    """Swagger's page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{_SCRIPTS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_SCRIPTS}/swagger-ui.css",
        swagger_favicon_url=_FAVICON,
    )


async def redoc(request: Request) -> HTMLResponse:
    """ReDoc's page."""
    return get_redoc_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        redoc_js_url=f"{_SCRIPTS}/redoc.standalone.js",
        redoc_favicon_url=_FAVICON,
        with_google_fonts=False,
    )


def describe(schema: dict[str, Any]) -> None:
    """Put into an OpenAPI schema what FastAPI cannot know: examples, what answers are, and what errors look like."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own 422, which no route gives
        components.pop(name, None)
    components["Error"] = _ERROR
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "An error",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
            if example := EXAMPLES.get(path, {}).get(method.upper()):
                _add_example(operation, example)


def _add_example(operation: dict[str, Any], example: Example) -> None:
    for place in operation.get("parameters", ()):
        if place["in"] == "path":
            place["example"] = PATHS[place["name"]]
    for kind, content in operation.get("requestBody", {"content": {}})["content"].items():
        files = example.files if kind == "multipart/form-data" else {}
        content["example"] = {**(example.sent or {}), **files}
    (status,) = (status for status in operation["responses"] if status[0] in "23")
    answer = operation["responses"][status]
    answer.pop("content", None)
    if example.answer is not None:
        answer["content"] = {example.media_type: {"schema": {"type": "object"}, "example": example.answer}}
    elif example.media_type is not None:
        schema = {"type": "string"} if example.media_type.startswith("text/") else _BINARY
        answer["content"] = {example.media_type: {"schema": schema}}


_BINARY: Final = {"type": "string", "format": "binary"}
_TEXT_OR_NULL: Final = {"type": "string", "nullable": True}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _TEXT_OR_NULL,
                "code": _TEXT_OR_NULL,
            },
        }
    },
    "example": ERROR,
}


def accepts(fields: type[BaseModel], *, json: bool = True, forms: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is `fields`, as JSON, as a form, or either."""
    schema = _inlined(fields.model_json_schema())
    needed = [schema["properties"][name] for name in schema.get("required", ())]
    needs_file = any(each.get("items", each).get("format") == "binary" for each in needed)
    kinds = ["application/json"] if json else []
    if forms:
        kinds += ["multipart/form-data"] if needs_file else ["multipart/form-data", "application/x-www-form-urlencoded"]
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


def parameter(name: str, description: str, schema: dict[str, Any], where: str = "path") -> dict[str, Any]:
    """A part of the path, or of the query."""
    return {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}


def query(fields: type[BaseModel]) -> list[dict[str, Any]]:
    """The parameters of a query that is `fields`."""
    properties = fields.model_json_schema()["properties"]
    return [
        parameter(name, field.description or name, properties[name], "query")
        for name, field in fields.model_fields.items()
    ]


def add_header(schema: dict[str, Any], name: str, description: str, where: Callable[[str, str], bool]) -> None:
    """Add a request header to the operations of an OpenAPI schema for which `where(method, path)` holds."""
    parameter = {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if where(method.upper(), path):
                operation.setdefault("parameters", []).append(parameter)


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its `$defs` put where they are used: OpenAPI would look for them elsewhere."""
    definitions = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return walk(definitions[node["$ref"].rsplit("/", 1)[-1]])
            return {key: walk(value) for key, value in node.items() if key != "discriminator"}
        return [walk(item) for item in node] if isinstance(node, list) else node

    walked: dict[str, Any] = walk(schema)
    return walked
