"""The embedder of serve_config.gpu.yaml: pictures and texts a second, beside bare open_clip."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from PIL import Image

import settings
from bench.gpu.checkpoints import drawn, size_of
from bench.gpu.pictures import CARD_GB
from bench.gpu.work import GB, Work
from bench.overhead import ROOT, seconds
from models.catalog import create_engine
from models.entry import ModelEntry
from tests.checkpoints.words import SENTENCES, clip_tokenizer

_TINY: Final[dict[str, Any]] = {
    "embed_dim": 32,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 2},
}


def run(work: Work) -> None:
    """Measure."""
    import open_clip  # noqa: F401 - before its turn

    work.turn()
    folder = work.folder / "clip"
    took = work.attempt("write", lambda: seconds(lambda: write(folder, tiny=work.tiny, device=work.device)))
    if took is None:
        return
    work.figure("checkpoint on disk", size_of(folder) / GB, "GB")
    bare = work.attempt("bare", lambda: _bare(work, folder))
    work.attempt("engine", lambda: _engine(work, folder, bare))


def write(folder: Path, *, tiny: bool, device: str) -> None:
    """The configured open_clip model with random weights and a tokenizer in its folder."""
    import open_clip
    from open_clip.push_to_hf_hub import save_for_hf
    from open_clip.tokenizer import HFTokenizer
    from open_clip.transform import PreprocessCfg

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = clip_tokenizer()
    tokenizer.save_pretrained(folder)
    config = _TINY if tiny else open_clip.get_model_config(_configured().checkpoint.removeprefix("timm/"))
    vocabulary = {"vocab_size": len(tokenizer)} if tiny else {}
    text = {**config["text_cfg"], **vocabulary, "hf_tokenizer_name": "in-this-folder", "tokenizer_kwargs": {}}
    config = {**config, "text_cfg": text}
    sizes = {name: value for name, value in config.items() if name != "custom_text"}
    model = drawn(lambda: open_clip.CustomTextCLIP(**sizes), device)
    open_clip.set_model_preprocess_cfg(model, asdict(PreprocessCfg(size=config["vision_cfg"]["image_size"])))
    hf_tokenizer = HFTokenizer(str(folder), context_length=text["context_length"])
    save_for_hf(model, hf_tokenizer, config, str(folder), safe_serialization=True)


def entry_of(folder: Path, *, tiny: bool) -> ModelEntry:
    """The embedder of serve_config.gpu.yaml with the checkpoint in `folder`."""
    said = _configured().model_dump() | {"checkpoint": str(folder)}
    return ModelEntry.model_validate(said | ({"device": "cpu", "threads": 1} if tiny else {}))


def _configured() -> ModelEntry:
    configured = settings.load(ROOT / "serve_config.gpu.yaml", {})
    return configured.models[configured.search.embedder]


def _pictures(work: Work) -> list[Image.Image]:
    return [Image.new("RGB", (256, 256), (i, 0, 0)) for i in range(4 if work.tiny else 256)]


def _engine(work: Work, folder: Path, bare: float | None) -> None:
    entry = entry_of(folder, tiny=work.tiny)
    engine: Any = create_engine(entry)
    work.forget_peak()
    if work.load("as configured", engine) is None:
        return
    pictures = _pictures(work)
    texts = SENTENCES * (1 if work.tiny else 32)
    rate = len(pictures) / work.seconds(lambda: engine.embed_images(pictures))
    work.figure("pictures", rate, "a second", beside=bare)
    work.figure("texts", len(texts) / work.seconds(lambda: engine.embed_texts(texts)), "a second")
    work.say_peak("as configured", entry.gpus * CARD_GB)
    engine.unload()


def _bare(work: Work, folder: Path) -> float:
    """Pictures a second by open_clip alone, in the engine's batches."""
    import open_clip
    import torch

    precision = "fp32" if work.tiny else "bf16"
    model, preprocess = open_clip.create_model_from_pretrained(
        f"local-dir:{folder}", precision=precision, device=work.device
    )
    model.eval()
    pictures = _pictures(work)

    def embed() -> None:
        with torch.inference_mode():
            for begin in range(0, len(pictures), 32):
                batch = torch.stack([preprocess(each) for each in pictures[begin : begin + 32]])
                model.encode_image(batch.to(work.device, next(model.parameters()).dtype)).float().cpu()

    return len(pictures) / work.seconds(embed)
