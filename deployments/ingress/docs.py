"""What `/docs` says of bodies that are read by hand, since one route takes several dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel


def accepts(fields: type[BaseModel], *, json: bool = True, forms: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is `fields`, as JSON, as a form, or either."""
    schema = _inlined(fields.model_json_schema())
    kinds = (["application/json"] if json else []) + (
        ["multipart/form-data", "application/x-www-form-urlencoded"] if forms else []
    )
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


def multipart(files: dict[str, str], fields: dict[str, str] | None = None) -> dict[str, Any]:
    """`openapi_extra` of an upload: file parts and text fields, each with its description."""
    properties: dict[str, Any] = {
        name: {"type": "string", "format": "binary", "description": text} for name, text in files.items()
    }
    properties |= {name: {"type": "string", "description": text} for name, text in (fields or {}).items()}
    schema = {"type": "object", "properties": properties, "required": list(files)[:1]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


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
