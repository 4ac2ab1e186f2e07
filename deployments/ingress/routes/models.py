"""`GET /v1/models`: every name that the other routes accept."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter

from deployments.executors import COMPUTING
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError
from deployments.ingress.services.model_cards import ModelCard, model_card
from deployments.states import ModelState
from models.entry import ModelEntry

router = APIRouter(prefix="/v1", tags=["models"])
_CREATED = 1_760_000_000
"""The same for every model and every start: clients cache by it."""


@router.get("/models", summary="List the models")
async def list_models(atelier: AtelierDep) -> dict[str, Any]:
    """Every alias with its state and abilities; chat models first, since clients preselect the first. Wakes none."""
    models = atelier.models
    states = await models.states()
    entries = sorted(models.entries.items(), key=lambda each: each[1].kind != "vlm")
    cards = await COMPUTING.run(lambda: [model_card(entry) for _, entry in entries])
    data = [_model(alias, entry, states[alias], card) for (alias, entry), card in zip(entries, cards, strict=True)]
    return {"object": "list", "data": data}


@router.get("/models/{name:path}", summary="One model")
async def get_model(atelier: AtelierDep, name: str) -> dict[str, Any]:
    """One model by any name that a request may use for it. Wakes no model."""
    models = atelier.models
    alias = models.find(unquote(name))
    if alias is None:
        raise ApiError(404, f"the model {name!r} does not exist", code="model_not_found", param="model")
    states = await models.states()
    entry = models.entries[alias]
    card = await COMPUTING.run(model_card, entry)
    return {**_model(alias, entry, states[alias], card), "id": unquote(name)}


def _model(alias: str, entry: ModelEntry, state: ModelState, card: ModelCard) -> dict[str, Any]:
    return {
        "id": alias,
        "object": "model",
        "created": _CREATED,
        "owned_by": "atelier",
        "kind": entry.kind,
        "state": state,
        "checkpoint": entry.checkpoint,
        "capabilities": list(card.capabilities),
        "limits": card.limits,
        "licence": card.licence,
    }
