"""`atelier models`, `load` and `evict`: which models a running server has loaded, and loading and unloading them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from cli.outputs import AsJson
from cli.search import Patience, ServerUrl, print_table
from cli.search_upkeep import ask, print_answer
from cli.server import PATIENCE_SECONDS
from cli.status import WithReplicas

Alias = Annotated[str, typer.Argument(help="The model's alias, as `atelier models` lists it.", show_default=False)]


class _Model(BaseModel):
    id: str
    kind: str
    state: str
    checkpoint: str


class _Models(BaseModel):
    data: list[_Model]


class _Worker(WithReplicas):
    model_config = ConfigDict(protected_namespaces=())

    memory_gb: float
    idle_seconds: float
    request_count: int
    queue: int
    reason: str | None


class _Memory(BaseModel):
    total_gb: float
    available_gb: float
    models_loaded_gb: float


class _Status(BaseModel):
    workers: dict[str, _Worker]
    memory: _Memory


class _Loaded(BaseModel):
    alias: str
    seconds: float


class _Evicted(BaseModel):
    alias: str


def models(as_json: AsJson = False, server: ServerUrl = None, patience: Patience = PATIENCE_SECONDS) -> None:
    """List the models and what those that are loaded take; looking wakes none."""
    if as_json:
        print_answer("GET", "/v1/models", server, patience)
        return
    found = ask(_Models, "GET", "/v1/models", server, patience).data
    status = ask(_Status, "GET", "/v1/system/status", server, patience)
    columns = ("model", "kind", "state", "memory", "idle", "requests", "waiting", "checkpoint")
    table = Table(*columns, box=None, pad_edge=False)
    for model in found:
        worker = status.workers.get(model.id)
        facts = _facts(worker) if worker else ("", "", "", "")
        state = f"{model.state}: {worker.reason}" if worker and worker.reason else model.state
        state += worker.count if worker else ""
        table.add_row(model.id, model.kind, state, *facts, Text(model.checkpoint))
    print_table(table)
    memory = status.memory
    print(
        f"{memory.models_loaded_gb:.1f} GB in models, {memory.available_gb:.1f} of {memory.total_gb:.1f} GB available"
    )


def load(
    alias: Alias, as_json: AsJson = False, server: ServerUrl = None, patience: Patience = PATIENCE_SECONDS
) -> None:
    """Load a model now; idle ones make room for it. Needs an admin key where there are keys."""
    path = f"/v1/system/load/{quote(alias, safe='')}"
    if as_json:
        print_answer("POST", path, server, patience)
        return
    loaded = ask(_Loaded, "POST", path, server, patience)
    print(f"{loaded.alias} is ready, after {loaded.seconds:.1f} s")


def evict(
    alias: Alias, as_json: AsJson = False, server: ServerUrl = None, patience: Patience = PATIENCE_SECONDS
) -> None:
    """Unload a model once it has ended what it works on. Needs an admin key where there are keys."""
    path = f"/v1/system/evict/{quote(alias, safe='')}"
    if as_json:
        print_answer("POST", path, server, patience)
        return
    evicted = ask(_Evicted, "POST", path, server, patience)
    print(f"{evicted.alias} is unloaded")


def _facts(worker: _Worker) -> tuple[str, str, str, str]:
    return f"{worker.memory_gb:.2f} GB", f"{worker.idle_seconds:.0f} s", str(worker.request_count), str(worker.queue)
