"""One tiny checkpoint of each kind for the session, and engines that are loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

# before any engine is loaded: one that needs no quantised weights would keep their packages from all that follow
import diffusers  # noqa: F401
import pytest
import transformers  # noqa: F401

from models.caption.engines.captioner import BlipEngine
from models.catalog import create_engine
from models.chat.engine import ChatEngine, PendingChat
from models.chat.engines.vlm import TransformersVlmEngine
from models.embedding.engines.clip import OpenClipEngine
from models.entry import ModelEntry
from models.image.engines.diffusion import DiffusionEngine
from models.tasks import ChatDelta, ChatJob
from tests import checkpoints

WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "flux": ("diffusion", checkpoints.write_flux),
    "kontext": ("diffusion", checkpoints.write_kontext),
    "flux2_klein": ("diffusion", checkpoints.write_flux2_klein),
    "z_image": ("diffusion", checkpoints.write_z_image),
    "qwen_image": ("diffusion", checkpoints.write_qwen_image),
    "qwen_image_edit": ("diffusion", checkpoints.write_qwen_image_edit),
    "qwen_image_edit_plus": ("diffusion", checkpoints.write_qwen_image_edit_plus),
    "sdxl": ("diffusion", checkpoints.write_sdxl),
    "qwen2_5_vl": ("vlm", checkpoints.write_qwen2_5_vl),
    "internvl": ("vlm", checkpoints.write_internvl),
    "gemma3": ("vlm", checkpoints.write_gemma3),
    "smolvlm": ("vlm", checkpoints.write_smolvlm),
    "blip": ("captioner", checkpoints.write_blip),
    "blip2": ("captioner", checkpoints.write_blip2),
    "open_clip": ("clip", checkpoints.write_open_clip),
}

Shelf = Callable[[str], ModelEntry]


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what diffusers does and numpy 2 is unhappy with."""
    euler = r"diffusers\.schedulers\.scheduling_euler_discrete"
    config.addinivalue_line("filterwarnings", f"ignore:__array__ implementation:DeprecationWarning:{euler}")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The catalogue entry of a tiny checkpoint by its name, which is written when first asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def entry(name: str) -> ModelEntry:
        engine, write = WRITERS[name]
        checkpoint = folder / name
        if not checkpoint.exists():
            write(checkpoint)
        return entry_of(engine, checkpoint)

    return entry


def entry_of(engine: str, checkpoint: str | Path) -> ModelEntry:
    """A catalogue entry for one CPU thread and small pictures."""
    small = {"width": 64, "height": 64, "steps": 2}
    return ModelEntry.model_validate(
        {"engine": engine, "checkpoint": str(checkpoint), "device": "cpu", "threads": 1, "image": small}
    )


def with_options(entry: ModelEntry, **options: Any) -> ModelEntry:
    """The entry with other engine options."""
    return ModelEntry.model_validate({**entry.model_dump(), "options": options})


def loaded(entry: ModelEntry) -> Any:
    """The entry's engine, ready."""
    engine = create_engine(entry)
    engine.load()
    return engine


@pytest.fixture(scope="session")
def describer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a describer: to its gate black pictures are shapes, red ones drawings, white ones photographs."""
    folder = tmp_path_factory.mktemp("checkpoints") / "describer"
    checkpoints.write_describer(folder)
    return folder


def together(engine: ChatEngine, *jobs: ChatJob, cancelled: int | None = None) -> list[str | Exception]:
    """The answers of jobs that are asked at once, or their errors; nobody waits for the one that is cancelled."""
    told: list[list[ChatDelta | Exception]] = [[] for _ in jobs]
    engine.answer([PendingChat(job, told[i].append, partial(eq, i, cancelled)) for i, job in enumerate(jobs)])
    answers: list[str | Exception] = []
    for pieces in told:
        errors = [piece for piece in pieces if isinstance(piece, Exception)]
        texts = [piece.text for piece in pieces if not isinstance(piece, Exception)]
        answers.append(errors[0] if errors else "".join(texts))
    return answers


@pytest.fixture(scope="session")
def flux(shelf: Shelf) -> DiffusionEngine:
    """A loaded FluxPipeline with real guidance."""
    engine: DiffusionEngine = loaded(
        with_options(shelf("flux"), guidance_argument="true_cfg_scale", call={"max_sequence_length": 48})
    )
    return engine


@pytest.fixture(scope="session", params=["qwen2_5_vl", "internvl", "gemma3", "smolvlm"])
def vlm(request: pytest.FixtureRequest, shelf: Shelf) -> TransformersVlmEngine:
    """A loaded chat model, of each architecture in turn."""
    engine: TransformersVlmEngine = loaded(shelf(request.param))
    return engine


@pytest.fixture(scope="session")
def qwen(shelf: Shelf) -> TransformersVlmEngine:
    """A loaded Qwen2.5-VL."""
    engine: TransformersVlmEngine = loaded(shelf("qwen2_5_vl"))
    return engine


@pytest.fixture(scope="session", params=["blip", "blip2"])
def captioner(request: pytest.FixtureRequest, shelf: Shelf) -> BlipEngine:
    """A loaded captioner, BLIP and BLIP-2 in turn."""
    engine: BlipEngine = loaded(shelf(request.param))
    return engine


@pytest.fixture(scope="session")
def clip(shelf: Shelf) -> OpenClipEngine:
    """A loaded open_clip model."""
    engine: OpenClipEngine = loaded(shelf("open_clip"))
    return engine
