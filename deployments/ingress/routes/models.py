"""`GET /v1/models`: every name that the other routes accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter

from deployments.executors import COMPUTING
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError
from deployments.ingress.services.model_cards import ModelCard, model_card, omni_card
from deployments.states import ModelState
from models.entry import ModelEntry
from settings import Omni

router = APIRouter(prefix="/v1", tags=["models"])
_CREATED = 1_760_000_000
"""The same for every model and every start: clients cache by it."""


@router.get("/models", summary="List the models")
async def list_models(atelier: AtelierDep) -> dict[str, Any]:
    """Every alias with its state and abilities; chat models first, since clients preselect the first. Wakes none.

    Before them stand the aliases made of others: a chat that draws and speaks does what the first one should.
    """
    models = atelier.models
    states = await models.states()
    made = [await _omni(atelier, alias, omni, states) for alias, omni in models.omni.items()]
    entries = sorted(models.entries.items(), key=lambda each: each[1].kind != "vlm")
    cards = await COMPUTING.run(lambda: [model_card(entry) for _, entry in entries])
    data = [_model(alias, entry, states[alias], card) for (alias, entry), card in zip(entries, cards, strict=True)]
    return {"object": "list", "data": [*made, *data]}


@router.get("/models/{name:path}", summary="One model")
async def get_model(atelier: AtelierDep, name: str) -> dict[str, Any]:
    """One model by any name that a request may use for it. Wakes no model."""
    models = atelier.models
    if (omni := models.find_omni(unquote(name))) is not None:
        return await _omni(atelier, unquote(name), omni, await models.states())
    alias = models.find(unquote(name))
    if alias is None:
        raise ApiError(404, f"the model {name!r} does not exist", code="model_not_found", param="model")
    states = await models.states()
    entry = models.entries[alias]
    card = await COMPUTING.run(model_card, entry)
    return {**_model(alias, entry, states[alias], card), "id": unquote(name)}


async def _omni(atelier: Atelier, name: str, omni: Omni, states: Mapping[str, ModelState]) -> dict[str, Any]:
    """An alias made of others, with the state and the checkpoint of its chat model."""
    entries = atelier.models.entries
    card = await COMPUTING.run(omni_card, omni, entries)
    parts = {"chat": omni.chat, "image": omni.image, "voice": omni.voice}
    return {**_model(name, entries[omni.chat], states[omni.chat], card), "kind": "omni", "parts": parts}


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
