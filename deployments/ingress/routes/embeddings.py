"""Embeddings of texts and pictures, in one space."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.embedding import EmbeddingResult
from deployments.executors import COMPUTING
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import invalid
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import base64_room, read_url
from deployments.ingress.requests.token_ids import text_of
from deployments.ingress.schemas.embeddings import (
    MAX_CHARACTERS,
    MAX_EMBEDDED_IMAGES,
    EmbeddingInput,
    Embeddings,
    Inputs,
)
from settings import Settings

router = APIRouter(prefix="/v1", tags=["embeddings"])


@router.post("/embeddings", summary="Texts and pictures as vectors", openapi_extra=accepts(Embeddings))
async def embeddings(request: Request, atelier: AtelierDep) -> Response:
    """A vector of unit length for each text and picture, in order: the nearer two are, the more alike they are."""
    settings, models = atelier.settings, atelier.models
    params = await body.read(request, Embeddings, max_bytes=base64_room(settings, MAX_EMBEDDED_IMAGES))
    alias = models.resolve(params.model, ["clip"])
    inputs = await _inputs(params.input, settings)
    embedded = await models.embeddings(alias).embed(inputs, params.dimensions)
    # thousands of vectors as JSON take a second, in which other requests must be answered
    answer = await COMPUTING.run(_answer, embedded, params.model or alias, params.encoding_format)
    headers = {"X-Truncated": "windows"} if embedded.in_windows else {}
    return Response(answer, media_type="application/json", headers=headers)


async def _inputs(params: Inputs, settings: Settings) -> dict[str, str | bytes]:
    """What to embed, by its path in the body; every picture is checked before anything is made of any."""
    places = dict(_places(params))
    inputs: dict[str, str | bytes] = {}
    pictures = 0
    for place, each in places.items():
        if isinstance(each, str):
            inputs[place] = each
        elif isinstance(each, list):
            text = await COMPUTING.run(text_of, each, place)
            if len(text) > MAX_CHARACTERS:  # a token may be of a hundred blanks
                raise invalid(place, f"{place}: {len(text)} characters; at most {MAX_CHARACTERS} are embedded")
            inputs[place] = text
        elif each.text is not None and each.image is None:
            inputs[f"{place}.text"] = each.text
        elif each.image is not None and each.text is None:
            pictures += 1
            if pictures > MAX_EMBEDDED_IMAGES:
                raise invalid(f"{place}.image", f"{place}.image: more than {MAX_EMBEDDED_IMAGES} images in one request")
            inputs[f"{place}.image"] = await read_url(each.image, settings, f"{place}.image")
        else:
            raise invalid(place, f"{place}: give either text or image")
    return inputs


def _places(params: Inputs) -> Iterator[tuple[str, str | EmbeddingInput | list[int]]]:
    """Each input with its path in the body; a list of numbers is one input, by its token ids."""
    if isinstance(params, list) and not isinstance(params[0], int):
        yield from ((f"input[{i}]", each) for i, each in enumerate(params))
    else:
        yield "input", params


def _answer(embedded: EmbeddingResult, model: str, encoding_format: Literal["float", "base64"]) -> bytes:
    vectors = embedded.vectors.astype("<f4")
    written: list[Any] = (
        vectors.tolist()
        if encoding_format == "float"
        else [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    )
    items = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(written)]
    usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return json.dumps({"object": "list", "data": items, "model": model, "usage": usage}).encode()
