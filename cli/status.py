"""`atelier status`: what a running server has loaded, what waits, and its memory."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from cli.outputs import AsJson, write_json, write_line
from cli.search import Patience, ServerUrl, print_table, told_in_one_line
from cli.search_upkeep import ask
from cli.server import Answer, server_url


class _Replica(BaseModel):
    state: str


class WithReplicas(BaseModel):
    """What a server says of a loaded model's replicas; an older one says nothing."""

    replicas: list[_Replica] = []

    @property
    def count(self) -> str:
        """How many can answer, such as ` x2`; nothing where there is one."""
        ready = sum(each.state == "ready" for each in self.replicas)
        return f" x{ready}" if ready > 1 else ""


class _Worker(WithReplicas):
    model_config = ConfigDict(protected_namespaces=())

    state: str
    memory_gb: float
    uptime_seconds: float
    idle_seconds: float
    request_count: int
    queue: int
    reason: str | None = None
    downloaded_bytes: int | None = None
    download_bytes: int | None = None

    @property
    def said(self) -> str:
        """Its state, and what there is to say of that."""
        if self.downloaded_bytes is not None and self.download_bytes:
            return f"{self.state}: {self.downloaded_bytes / self.download_bytes:.0%}"
        state = f"{self.state}{self.count}"
        return f"{state}: {self.reason}" if self.reason else state


class _Memory(BaseModel):
    total_gb: float
    available_gb: float
    models_loaded_gb: float


class _Work(BaseModel):
    running: int
    waiting: int


class _Status(BaseModel):
    workers: dict[str, _Worker]
    memory: _Memory
    image_search: dict[str, _Work] | None = None
    dashboard: str | None = None
    known_seconds_ago: float = 0


def status(as_json: AsJson = False, server: ServerUrl = None, patience: Patience = 5.0) -> None:
    """Show the models that are loaded, what waits for them, image search and memory; looking wakes none."""
    if as_json:
        write_json(ask(Answer, "GET", "/v1/system/status", server, patience).root)
        return
    found = ask(_Status, "GET", "/v1/system/status", server, patience)
    with told_in_one_line():
        stale = f" (as of {found.known_seconds_ago:.0f} s ago)" if found.known_seconds_ago > 2 else ""
        write_line(f"{server_url(server)}: {len(found.workers)} models loaded{stale}")
        if found.workers:
            table = Table("model", "state", "memory", "up", "idle", "requests", "waiting", box=None, pad_edge=False)
            for alias, worker in sorted(found.workers.items()):
                seconds = (f"{each:.0f} s" for each in (worker.uptime_seconds, worker.idle_seconds))
                counts = str(worker.request_count), str(worker.queue)
                table.add_row(alias, worker.said, f"{worker.memory_gb:.2f} GB", *seconds, *counts)
            print_table(table)
        for kind, work in (found.image_search or {}).items():
            if work.running or work.waiting:
                write_line(f"image search, {kind}: {work.running} running, {work.waiting} waiting")
        memory = found.memory
        write_line(
            f"{memory.models_loaded_gb:.1f} GB in models, "
            f"{memory.available_gb:.1f} of {memory.total_gb:.1f} GB available"
        )
        if found.dashboard:
            write_line(f"dashboard: {found.dashboard}")
