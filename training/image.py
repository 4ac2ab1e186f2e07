"""Make the built-in image model: `python -m training.image`.

Four stages, each kept under `.runs/image/` and skipped when it is there: the autoencoder, the text encoders, the
training pictures as latents, the flow transformer. What comes out is a folder that `FluxPipeline` loads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import PreTrainedTokenizerFast

from training.evaluate import MODELS
from training.evaluate_image import evaluate
from training.image_card import write_card
from training.image_flow import LatentEdits, build_transformer, draw_latents, train_flow
from training.image_text import TextEncoders, TextTask, train_text, train_tokenizer
from training.image_vae import build_vae, train_vae
from training.loop import RUNS, Schedule

FOLDER = RUNS / "image"
SHIFT = 1.0


def make_vae(steps: int) -> AutoencoderKL:
    """The trained autoencoder."""
    kept = FOLDER / "vae" / "model"
    if kept.exists():
        return AutoencoderKL.from_pretrained(kept).eval()
    torch.manual_seed(11)
    vae = build_vae()
    train_vae(vae, steps)
    vae.save_pretrained(kept)
    return vae


def make_text(steps: int) -> tuple[PreTrainedTokenizerFast, TextTask]:
    """The tokenizer and the trained encoders."""
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
    return tokenizer, text


def make_latents(vae: AutoencoderKL) -> LatentEdits:
    """The training pictures as the transformer sees them."""
    kept = FOLDER / "latents.pt"
    if not kept.exists():
        pictures = draw_latents(vae).pictures
        torch.save((pictures.tokens, pictures.places), kept)
    return LatentEdits.of(*torch.load(kept, weights_only=True))


def save(
    folder: Path,
    vae: AutoencoderKL,
    tokenizer: PreTrainedTokenizerFast,
    encoders: TextEncoders,
    transformer: FluxTransformer2DModel,
) -> None:
    """Write the pipeline in diffusers' layout, measure what was written, and write the model card.

    Transformer and autoencoder are kept in float16, which loads as float32; transformers would load the text encoders
    as they are kept.
    """
    parts = {
        "transformer": transformer.half(),
        "vae": vae.half(),
        "text_encoder": encoders.clip,
        "text_encoder_2": encoders.t5,
    }
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT)
    FluxPipeline(scheduler=scheduler, tokenizer=tokenizer, tokenizer_2=tokenizer, **parts).save_pretrained(folder)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    write_card(folder, FOLDER, counts, {"vocabulary": len(tokenizer), "shift": SHIFT}, evaluate(folder))


def main() -> None:
    """Run the stages that are not there yet, then write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vae-steps", type=int, default=1300)
    parser.add_argument("--text-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=14_000, help="of the transformer")
    parser.add_argument("--hold", type=int, default=8000, help="steps at full rate before it falls")
    parser.add_argument("--edits-from", type=int, default=4000, help="the step from which on edits are learnt too")
    parser.add_argument("--out", type=Path, default=MODELS / "image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vae = make_vae(options.vae_steps)
    tokenizer, text = make_text(options.text_steps)
    latents = make_latents(vae)
    torch.manual_seed(31)
    transformer = build_transformer()
    schedule = Schedule(steps=options.steps, lr=2e-3, muon=1e-2, hold=options.hold, seed=31)
    train_flow(transformer, text.encoders, tokenizer, latents, schedule, edits_from=options.edits_from)
    save(options.out, vae, tokenizer, text.encoders, transformer)


if __name__ == "__main__":
    main()
