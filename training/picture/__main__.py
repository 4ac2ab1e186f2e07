"""Make the picture model, of things and shapes: `python -m training.picture`, after `python -m training.art`.

Stages, each kept under `.runs/picture/` and skipped when it is there: the autoencoder, what reads prompts, the bank
of latents, more of the decoder alone, the transformer with what drawings look like. `python -m
training.picture.recogniser` makes what judges them. A run that was ended goes on with the same command. `--only` runs
some of them; `--seconds` ends a stage after so much work, with its rate fallen to nothing by then, so that a machine
that is there for minutes is used to its last one.

What comes out is a folder that `FluxPipeline` and `FluxKontextPipeline` load.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from models.image.autoencoder import LayeredAutoencoder, PackedAutoencoder
from models.image.painter import PaintingTransformer
from models.image.wish_encoder import Telling, WishConfig, WishEncoder
from models.image.wishes import GLOBALS, KINDS
from training.art.fetch import ArtError
from training.eight_bits import packed
from training.evaluate import as_table
from training.loop import RUNS, Check, Schedule
from training.picture.autoencoder import (
    build_autoencoder,
    grow_decoder,
    make_pool,
    quality,
    train_autoencoder,
    train_decoder,
    train_last_stages,
    train_on_pool,
)
from training.picture.bank import Bank, make_bank, open_bank
from training.picture.card import write_card
from training.picture.flow import POOLED, build_flow_transformer, learn_drawings, learn_layout, train_finder, train_flow
from training.picture.judging import claims, look
from training.picture.measuring import CASES, CLAIMED, measured
from training.picture.recogniser import KEPT, load_recogniser
from training.picture.shapes import evaluate as evaluate_shapes
from training.picture.text import BATCH, LENGTH, build_encoder, train_reading, train_tokenizer, unknown_words
from training.picture.wishes import wish_config
from training.picture.world import device_of, drawn_world, has_lettering, has_unseen_world
from training.wordnet import WordNet

FOLDER: Final = RUNS / "picture"
SHIFT: Final = 3.0
_AUTOENCODER: Final = "diffusion_pytorch_model.safetensors"
_LEVELS: Final = {"transformer": 44}
_FINE: Final = 63
"""How coarse the weights in the folder are, steps on each side of 0: they cost 2 and 1 % of the loss."""
STAGES: Final = ("autoencoder", "text", "bank", "decoder", "flow", "last-stages", "evaluate")


def load_autoencoder(device: torch.device) -> PackedAutoencoder:
    """The trained one, with the decoder that went on if there is one."""
    later = FOLDER / "decoder" / "model"
    kept = later if later.exists() else FOLDER / "autoencoder" / "model"
    vae: PackedAutoencoder = PackedAutoencoder.from_pretrained(kept)
    vae.to(device)
    return vae


def load_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, learnt from prompts if there is none yet."""
    kept = FOLDER / "text" / "tokenizer"
    if not kept.exists():
        train_tokenizer(drawn_world().stock).save_pretrained(kept)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(kept)
    return tokenizer


def load_unknown_words() -> tuple[str, ...]:
    """English words that mean nothing here, looked up in WordNet if they were not before."""
    kept = FOLDER / "text" / "unknown.txt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("\n".join(unknown_words(drawn_world().stock, WordNet().usual_words())))
    return tuple(kept.read_text().split())


def load_encoder(config: WishConfig) -> WishEncoder:
    """What reads prompts; its telling has learnt nothing."""
    encoder = build_encoder(config)
    read = torch.load(FOLDER / "text" / "model.pt", weights_only=True, map_location="cpu")
    encoder.load_state_dict(read | {f"telling.{name}": kept for name, kept in encoder.telling.state_dict().items()})
    encoder.eval()
    return encoder


def silent_encoder(vocabulary: int) -> CLIPTextModel:
    """FLUX's pooled vector tells nothing here; the pipeline wants an encoder for it all the same: all weights are 0."""
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=POOLED, intermediate_size=POOLED, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=LENGTH, projection_dim=POOLED, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    encoder = CLIPTextModel(config).eval()
    for weight in encoder.parameters():
        weight.detach().zero_()
    return encoder


def pipeline_of(transformer: PaintingTransformer, encoder: WishEncoder) -> Any:
    """A pipeline with these, on their device."""
    tokenizer, vae = load_tokenizer(), load_autoencoder(transformer.device)
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT),
        vae=LayeredAutoencoder.of(vae),
        text_encoder=silent_encoder(len(tokenizer)).to(transformer.device),
        text_encoder_2=encoder,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        transformer=transformer.see_through(vae),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _autoencoder(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "autoencoder" / "model"
    if kept.exists():
        return
    torch.manual_seed(71)
    vae = build_autoencoder().to(device)
    steps = given.autoencoder_steps
    schedule = Schedule(
        steps=steps, lr=2e-3, weight_decay=1e-4, ema=0.995, hold=steps // 2, seed=71, seconds=given.seconds
    )
    if given.pool:
        train_on_pool(vae, make_pool(given.pool, given.workers).to(device), schedule, given.autoencoder_batch)
    else:
        train_autoencoder(vae, schedule, given.autoencoder_batch)
    _keep_autoencoder(vae, kept)


def _decoder(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "decoder" / "model"
    if kept.exists() or not given.decoder_steps:
        return
    vae, steps = load_autoencoder(torch.device("cpu")), given.decoder_steps
    grow_decoder(vae, given.decoder_widened)
    vae.to(device)
    schedule = Schedule(steps=steps, lr=1.5e-3, ema=0.995, hold=steps // 3, seed=77, seconds=given.seconds)
    train_decoder(vae, schedule, given.autoencoder_batch)
    _keep_autoencoder(vae, kept)


def _keep_autoencoder(vae: AutoencoderKL, kept: Path) -> None:
    if has_unseen_world():
        print(f"{kept.parent.name}: {quality(vae):.2f} dB in designs that it never saw")
    partial = kept.with_suffix(".partial")
    vae.cpu().save_pretrained(partial)
    partial.replace(kept)


def _text(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "text" / "model.pt"
    if kept.exists():
        return
    tokenizer = load_tokenizer()
    torch.manual_seed(72)
    encoder = build_encoder(wish_config(len(tokenizer)))
    steps = given.text_steps
    schedule = Schedule(steps=steps, lr=2e-3, muon=1e-2, hold=steps // 2, seed=72, seconds=given.seconds)
    encoder.to(device)
    train_reading(encoder, tokenizer, load_unknown_words(), schedule, given.text_batch, given.workers)
    read = {name: weight for name, weight in encoder.cpu().state_dict().items() if not name.startswith("telling.")}
    torch.save(read, kept)


def _bank(given: argparse.Namespace, device: torch.device) -> None:
    def autoencoder() -> AutoencoderKL:
        while given.beside and not (FOLDER / "autoencoder" / "model").exists():
            time.sleep(1)
        return load_autoencoder(device)

    make_bank(given.shards, autoencoder, given.workers)


def _flow(given: argparse.Namespace, device: torch.device) -> None:
    torch.manual_seed(75)
    config = wish_config(len(load_tokenizer()))
    transformer, encoder = build_flow_transformer(config).to(device), load_encoder(config)
    bank = open_bank()
    _learn_drawings(encoder.telling, transformer, bank, device)
    encoder.to(device)
    pipeline = pipeline_of(transformer, encoder)
    judge = load_recogniser(device=device) if KEPT.exists() else None
    if given.compile:
        transformer.compile_repeated_blocks(dynamic=False)

    def seen(step: int) -> None:
        with torch.compiler.set_stance("force_eager"):
            print(f"step {step}: {look(pipeline, judge, FOLDER / 'looks' / f'{step:06}.png')}")

    hold = int(given.steps * given.hold)
    schedule = Schedule(
        steps=given.steps, lr=given.rate, muon=given.muon, hold=hold, ema=given.ema, seed=75, seconds=given.seconds,
    )  # fmt: skip
    train_flow(
        transformer, encoder.telling, bank, schedule,
        batch=given.batch, check=Check(given.look, seen) if given.look else None,
    )  # fmt: skip
    seen(given.steps)
    steps = given.finder_steps
    schedule = Schedule(steps=steps, lr=1e-3, muon=5e-3, hold=steps // 3, seed=78)
    train_finder(transformer, encoder.telling, bank, schedule, batch=given.finder_batch)
    _save(transformer, encoder, given.out)


def _learn_drawings(telling: Telling, transformer: PaintingTransformer, bank: Bank, device: torch.device) -> None:
    """What is found without the transformer: what drawings look like, and where things of a wish stand."""
    kept = FOLDER / "flow" / "telling.pt"
    if not kept.exists():
        learn_drawings(telling, transformer, load_autoencoder(device), drawn_world())
        wishes, where = bank.wishes[bank.scenes].long(), bank.where[bank.scenes]
        kinds = bank.asked[..., GLOBALS.index("kind")]
        told = (kinds == KINDS.index("add")) | (kinds == KINDS.index("resize"))
        results = bank.moved[told].index_fill(1, torch.tensor([0]), 0)
        fields = telling.fields(torch.cat([wishes, bank.asked[told].long()]))
        error = learn_layout(telling.layout, fields, torch.cat([where, results]))
        print(f"places are {error:.3f} of a picture off")
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"telling": telling.state_dict(), "draft": transformer.draft.state_dict()}, kept)
    found = torch.load(kept, weights_only=True, map_location="cpu")
    telling.load_state_dict(found["telling"])
    transformer.draft.load_state_dict(found["draft"])


def _save(transformer: PaintingTransformer, encoder: WishEncoder, folder: Path) -> None:
    """Write the pipeline in diffusers' layout, its weights packed."""
    pipeline_of(transformer.cpu(), encoder.cpu()).save_pretrained(folder)
    for weights in folder.glob("*/*.safetensors"):
        if weights.parent.name != "text_encoder":
            kept = packed(load_file(weights), _LEVELS.get(weights.parent.name, _FINE))
            save_file(kept, weights, metadata={"format": "pt"})
            weights.chmod(0o644)


def _last_stages(given: argparse.Namespace, device: torch.device) -> None:
    """In the folder that serves: whatever else is in its file stays to the byte."""
    if not given.last_steps:
        return
    kept, steps = given.out / "vae", given.last_steps
    vae: PackedAutoencoder = PackedAutoencoder.from_pretrained(kept)
    schedule = Schedule(
        steps=steps, lr=1e-3, weight_decay=0.0, ema=0.98, hold=steps // 3, seed=79, seconds=given.seconds
    )
    train_last_stages(vae.to(device), drawn_world(words=has_lettering()), schedule, given.last_batch)
    if has_unseen_world():
        print(f"last stages: {quality(vae):.2f} dB in designs that it never saw")
    save_file(packed(vae.cpu().state_dict(), _FINE), kept / _AUTOENCODER, metadata={"format": "pt"})


def _evaluate(given: argparse.Namespace, device: torch.device) -> None:
    pipeline = FluxPipeline.from_pretrained(given.out).to(device)
    pipeline.set_progress_bar_config(disable=True)
    judge = load_recogniser(device=device)
    claimed = claims(pipeline, judge)
    (given.out / CLAIMED).write_text("".join(f"{name}\n" for name in claimed), "utf-8")
    print(f"claims {len(claimed)} things")
    rows = evaluate_shapes(given.out) + measured(pipeline, judge, claimed, given.cases)
    print(as_table(rows))
    parts = ("transformer", "vae", "text_encoder", "text_encoder_2")
    sizes = {name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in parts}
    facts = {"vocabulary": len(pipeline.tokenizer), "shift": SHIFT}
    write_card(given.out, FOLDER, sizes, facts, claimed, rows)


def main() -> None:
    """Run the stages that are asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one")
    parser.add_argument("--seconds", type=float, default=0, help="end each training after so much work")
    parser.add_argument("--autoencoder-steps", type=int, default=12_000)
    parser.add_argument("--autoencoder-batch", type=int, default=32)
    parser.add_argument("--decoder-steps", type=int, default=0, help="more of its decoder alone")
    parser.add_argument("--decoder-widened", type=float, default=1.5, help="and so many times as wide")
    parser.add_argument("--last-steps", type=int, default=0, help="more of the decoder's last stages, in the folder")
    parser.add_argument("--last-batch", type=int, default=12)
    parser.add_argument("--pool", type=int, default=0, help="compose so many pictures for it first, not as it goes")
    parser.add_argument("--text-steps", type=int, default=3000)
    parser.add_argument("--text-batch", type=int, default=BATCH)
    parser.add_argument("--shards", type=int, default=12, help="of the bank, of 5,760 pictures; each fifth: shapes")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose beside this one")
    parser.add_argument("--beside", action="store_true", help="wait for what encodes the bank")
    parser.add_argument("--steps", type=int, default=40_000, help="of the transformer")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="AdamW's")
    parser.add_argument("--muon", type=float, default=7e-3, help="Muon's, 0 for AdamW alone")
    parser.add_argument("--hold", type=float, default=0.5, help="share of the steps at full rate")
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--finder-steps", type=int, default=2000, help="more of its finder alone")
    parser.add_argument("--finder-batch", type=int, default=128)
    parser.add_argument("--look", type=int, default=2000, help="draw and judge every so many steps, 0 for never")
    parser.add_argument("--compile", action="store_true", help="compile the transformer")
    parser.add_argument("--cases", type=int, default=CASES, help="pictures of each line of the evaluation")
    parser.add_argument("--out", type=Path, default=FOLDER / "pipeline")
    given = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    stages = {
        "autoencoder": _autoencoder,
        "text": _text,
        "bank": _bank,
        "decoder": _decoder,
        "flow": _flow,
        "last-stages": _last_stages,
        "evaluate": _evaluate,
    }
    try:
        for stage in STAGES:
            if stage in given.only:
                stages[stage](given, device)
    except (ArtError, FileNotFoundError) as error:
        sys.exit(f"training.picture: {error}")


if __name__ == "__main__":
    main()
