"""Make the built-in image model: `python -m training.image`.

Four stages, each kept under `.runs/image/` and skipped when it is there: the autoencoder, the text encoders, the
training pictures as latents, the flow transformer. What comes out is a folder that `FluxPipeline` loads.

`--go-on-from models/builtin/image` takes all parts from a checkpoint and trains its transformer further.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, PreTrainedTokenizerFast, T5EncoderModel

from training.evaluate import MODELS
from training.evaluate_image import evaluate
from training.image_card import write_card
from training.image_flow import BATCH, LatentEdits, build_transformer, draw_latents, train_flow
from training.image_text import TextEncoders, TextTask, train_text, train_tokenizer
from training.image_vae import build_vae, train_vae
from training.loop import RUNS, Schedule

FOLDER = RUNS / "image"
SHIFT = 1.0


@dataclass(frozen=True)
class Parts:
    """What a pipeline consists of, on the CPU in float32."""

    vae: AutoencoderKL
    tokenizer: PreTrainedTokenizerFast
    encoders: TextEncoders
    transformer: FluxTransformer2DModel

    @classmethod
    def load(cls, folder: Path) -> Parts:
        """From a checkpoint."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        encoders = TextEncoders(len(tokenizer))
        encoders.clip = CLIPTextModel.from_pretrained(folder / "text_encoder")
        encoders.t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_2")
        return cls(
            AutoencoderKL.from_pretrained(folder / "vae").eval(),
            tokenizer,
            encoders,
            FluxTransformer2DModel.from_pretrained(folder / "transformer"),
        )

    @classmethod
    def make(cls, vae_steps: int, text_steps: int) -> Parts:
        """Train what comes before the transformer, or take it from `.runs`; the transformer has learnt nothing."""
        vae = _make_vae(vae_steps)
        tokenizer, encoders = _make_text(text_steps)
        torch.manual_seed(31)
        return cls(vae, tokenizer, encoders, build_transformer())


def _make_vae(steps: int) -> AutoencoderKL:
    kept = FOLDER / "vae" / "model"
    if kept.exists():
        return AutoencoderKL.from_pretrained(kept).eval()
    torch.manual_seed(11)
    vae = build_vae()
    train_vae(vae, steps)
    vae.save_pretrained(kept)
    return vae


def _make_text(steps: int) -> tuple[PreTrainedTokenizerFast, TextEncoders]:
    pieces = FOLDER / "text" / "tokenizer"
    if not pieces.exists():
        train_tokenizer().save_pretrained(pieces)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(pieces)
    torch.manual_seed(21)
    text = TextTask(TextEncoders(len(tokenizer)))
    kept = FOLDER / "text" / "model.pt"
    if kept.exists():
        text.load_state_dict(torch.load(kept, weights_only=True))
    else:
        train_text(text, tokenizer, steps)
        torch.save(text.state_dict(), kept)
    return tokenizer, text.encoders


def make_latents(vae: AutoencoderKL) -> LatentEdits:
    """The training pictures as the transformer sees them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = FOLDER / "latents.pt"
    if not kept.exists():
        pictures = draw_latents(vae).pictures
        torch.save((pictures.tokens, pictures.places), kept)
    return LatentEdits.of(*torch.load(kept, weights_only=True))


def save(folder: Path, made: Parts, before: Path | None) -> None:
    """Write the pipeline in diffusers' layout, measure what was written, and write the model card.

    `before` is the checkpoint that this one went on from.

    Transformer and autoencoder are kept in float16, which loads as float32; transformers would load the text encoders
    as they are kept.
    """
    parts = {
        "transformer": made.transformer.half(),
        "vae": made.vae.half(),
        "text_encoder": made.encoders.clip,
        "text_encoder_2": made.encoders.t5,
    }
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT)
    pipeline = FluxPipeline(scheduler=scheduler, tokenizer=made.tokenizer, tokenizer_2=made.tokenizer, **parts)
    pipeline.save_pretrained(folder)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    facts: dict[str, object] = {"vocabulary": len(made.tokenizer), "shift": SHIFT}
    card = None if before is None else (before / "README.md").read_text()
    write_card(folder, FOLDER, counts, facts, evaluate(folder), card)


def main() -> None:
    """Run the stages that are not there yet, then write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vae-steps", type=int, default=1300)
    parser.add_argument("--text-steps", type=int, default=1500)
    parser.add_argument("--go-on-from", type=Path, help="a checkpoint to train further")
    parser.add_argument("--steps", type=int, default=14_000, help="of the transformer")
    parser.add_argument("--hold", type=int, default=8000, help="steps at full rate before it falls")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the usual full rate")
    parser.add_argument("--edits-from", type=int, default=4000, help="the step from which on edits are learnt too")
    parser.add_argument("--edited", type=int, default=14, help=f"of the {BATCH} pictures of a step, once they are")
    parser.add_argument("--compile", action="store_true", help="a step takes two thirds of the time, the first minutes")
    parser.add_argument("--out", type=Path, default=MODELS / "image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    made = Parts.load(options.go_on_from) if options.go_on_from else Parts.make(options.vae_steps, options.text_steps)
    latents = make_latents(made.vae)
    if options.compile:
        made.transformer.compile()
    schedule = Schedule(
        steps=options.steps, lr=2e-3 * options.rate, muon=1e-2 * options.rate, hold=options.hold, seed=31
    )
    train_flow(
        made.transformer,
        made.encoders,
        made.tokenizer,
        latents,
        schedule,
        edits_from=options.edits_from,
        edited=options.edited,
    )
    save(options.out, made, options.go_on_from)


if __name__ == "__main__":
    main()
