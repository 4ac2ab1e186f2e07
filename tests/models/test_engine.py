"""What is true of every engine: loading, unloading, footprint and errors of checkpoints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from models import devices
from models.caption.engine import CaptionEngine
from models.catalog import create_engine, engine_class
from models.chat.engine import ChatEngine
from models.engine import Engine
from models.errors import Cancelled, CheckpointError, InferenceFailed, OutOfMemory
from models.image.engine import ImageEngine
from models.kinds import engines
from models.pictures import encode
from models.tasks import ChatJob, ImageJob, Message, TextPart
from tests.models.conftest import WRITERS, Shelf, entry_of

OFTEN = ("flux", "qwen2_5_vl", "blip", "open_clip")
"""One of each kind, loaded at every change; the others in the night."""
EVERY_CHECKPOINT = pytest.mark.parametrize(
    "name", [each if each in OFTEN else pytest.param(each, marks=pytest.mark.nightly) for each in WRITERS]
)
EVERY_ENGINE = pytest.mark.parametrize(
    "name", ["diffusion", "vlm", "vlm_mixture", "captioner", "captioner_mixture", "clip"]
)


def work(loaded: Any) -> object:
    """One small piece of work, whatever the engine does."""
    match loaded:
        case ImageEngine():
            return loaded.generate(_job_for(loaded), lambda _step: None)[0].tobytes()
        case ChatEngine():
            return list(loaded.stream(ChatJob((Message("user", (TextPart("hello"),)),), 3), lambda: False))
        case CaptionEngine():
            return loaded.caption([Image.new("RGB", (40, 40), "red")])
        case _:
            return loaded.embed_texts(["a red circle"]).tolist()


def _job_for(loaded: Any) -> ImageJob:
    """A picture from words, or of a model that only changes pictures, a changed one."""
    job = ImageJob("a red circle", 64, 64, 1, 1.0, 7)
    only_changes = "text2img" not in loaded._classes
    return replace(job, images=(encode(Image.new("RGB", (64, 64), "red")),)) if only_changes else job


@EVERY_CHECKPOINT
def test_an_engine_can_be_loaded_unloaded_and_loaded_again(name: str, shelf: Shelf) -> None:
    loaded = create_engine(shelf(name))
    assert loaded.footprint == 0
    loaded.load()
    loaded.warm_up()
    first, footprint = work(loaded), loaded.footprint
    assert footprint > 100_000
    loaded.unload()
    assert not loaded.loaded
    assert loaded.footprint == 0
    loaded.load()
    assert (work(loaded), loaded.footprint) == (first, footprint)


@EVERY_CHECKPOINT
def test_loading_and_working_write_nothing(name: str, shelf: Shelf, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = create_engine(shelf(name))
    capfd.readouterr()
    loaded.load()
    work(loaded)
    assert capfd.readouterr() == ("", "")


@EVERY_CHECKPOINT
def test_the_footprint_is_the_size_of_the_weights(name: str, shelf: Shelf) -> None:
    entry = shelf(name)
    loaded = create_engine(entry)
    loaded.load()
    on_disk = sum(path.stat().st_size for path in Path(entry.checkpoint).rglob("*.safetensors"))
    assert loaded.footprint == pytest.approx(on_disk, rel=0.15)


@EVERY_ENGINE
def test_a_missing_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing-here"):
        create_engine(entry_of(name, tmp_path / "nothing-here")).load()


@EVERY_ENGINE
def test_a_missing_builtin_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(CheckpointError, match="'builtin:nothing-here'; there are: "):
        create_engine(entry_of(name, "builtin:nothing-here")).load()


@EVERY_ENGINE
def test_a_checkpoint_of_another_kind_is_refused_in_one_line(name: str, shelf: Shelf) -> None:
    text_model = str(Path(shelf("z_image").checkpoint) / "text_encoder")
    loaded = create_engine(entry_of(name, text_model))
    with pytest.raises(CheckpointError) as caught:
        loaded.load()
    assert "text_encoder" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not loaded.loaded


@EVERY_CHECKPOINT
def test_damaged_weights_are_refused_in_one_line(name: str, shelf: Shelf, tmp_path: Path) -> None:
    entry = shelf(name)
    damaged = tmp_path / "damaged"
    shutil.copytree(entry.checkpoint, damaged)
    for path in damaged.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    loaded = create_engine(entry.model_copy(update={"checkpoint": str(damaged)}))
    with pytest.raises(CheckpointError) as caught:
        loaded.load()
    assert "\n" not in str(caught.value)
    assert loaded.footprint == 0


def test_threads_are_those_of_the_entry(shelf: Shelf) -> None:
    before = torch.get_num_threads()
    try:
        devices.prepare_torch(shelf("blip").model_copy(update={"threads": 3}))
        assert torch.get_num_threads() == 3
        devices.prepare_torch(shelf("blip").model_copy(update={"threads": 0}))
        assert torch.get_num_threads() >= 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.nightly
def test_waiting_threads_leave_the_cores_to_others() -> None:
    program = (
        "from models import devices; from models.entry import ModelEntry;"
        "devices.prepare_torch(ModelEntry(engine='captioner', checkpoint='x'))"
    )
    environment = {**os.environ, "OMP_DISPLAY_ENV": "true"}
    environment.pop("OMP_WAIT_POLICY", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("MPS backend out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), OutOfMemory),
        (RuntimeError("[metal::malloc] Attempting to allocate 2 bytes which is greater than the maximum"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), OutOfMemory),
        (RuntimeError("could not create a primitive"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), InferenceFailed),
        (RuntimeError("could not create a primitive descriptor for a convolution"), InferenceFailed),
        (RuntimeError("shapes do not match\nmore"), InferenceFailed),
        (AssertionError(), InferenceFailed),
        (Cancelled(), Cancelled),
    ],
)
def test_errors_of_libraries_become_ours(raised: Exception, becomes: type[Exception]) -> None:
    with pytest.raises(becomes) as caught, devices.inference():
        raise raised
    assert "more" not in str(caught.value)


def test_finding_and_reading_of_every_engine_imports_no_library_that_computes() -> None:
    script = (
        "import sys; from models.catalog import engine_class; from models.kinds import engines;"
        "before = [name for name in sys.modules if '.engines.' in name];"
        "[engine_class(name) for name in engines()];"
        "heavy = {'torch', 'transformers', 'diffusers', 'open_clip', 'mlx', 'mlx_vlm', 'mlx_audio', 'qwen_tts'};"
        "print(len(engines()), before, sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == f"{len(engines())} [] []", done.stderr


def test_a_file_with_no_engine_in_it_or_two_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class First(Engine):
        pass

    class Second(Engine):
        pass

    for classes in ((), (First, Second)):
        file = ModuleType("models.chat.engines.double")
        for each in classes:
            each.__module__ = file.__name__
            setattr(file, each.__name__, each)
        monkeypatch.setitem(sys.modules, file.__name__, file)
        monkeypatch.setattr("models.catalog.engines", lambda: {"double": "vlm"})
        with pytest.raises(TypeError, match=rf"models\.chat\.engines\.double defines {len(classes)} classes"):
            engine_class.__wrapped__("double")
