"""The image model's card: what it is, what it is not, how it was made and how good it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from training.evaluate import Row, as_table
from training.evaluate_image import DEFAULTS

_CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [image-to-image]
language: [en, ko, ja]
---

# Atelier's built-in image model

A small FLUX-type pipeline that draws 64x64 pictures of one world: one to three circles, squares, triangles, stars,
hearts, rings, crosses and diamonds, big or small, in eight colours on a plain background. Run as
`FluxKontextPipeline` it also changes such a picture by an instruction: another colour, shape or background, a thing
more or less. **It knows this world and nothing else**: asked for a cat it will draw some coloured shape, and it cannot
write. It exists so that a server without a GPU or a download runs the same code as with FLUX.

Prompts: English, Korean or Japanese, up to {max_sequence_length} tokens.

```python
from diffusers import AutoPipelineForText2Image

pipeline = AutoPipelineForText2Image.from_pretrained("models/builtin/image")
picture = pipeline(
    "a big red circle on the left and a small yellow star on the right of a blue background",
    negative_prompt="",
    height={height},
    width={width},
    num_inference_steps={num_inference_steps},
    true_cfg_scale={true_cfg_scale},
    max_sequence_length={max_sequence_length},
).images[0]
```

and a change of it:

```python
from diffusers import FluxKontextPipeline

editor = FluxKontextPipeline.from_pretrained("models/builtin/image")
changed = editor(
    image=picture,
    prompt="make the star green",
    negative_prompt="",
    height={height},
    width={width},
    max_area={height} * {width},
    _auto_resize=False,
    num_inference_steps={num_inference_steps},
    true_cfg_scale={true_cfg_scale},
    max_sequence_length={max_sequence_length},
).images[0]
```

These settings are the recommended ones. `max_sequence_length` must be {max_sequence_length}: Flux masks no padding,
and the model was trained with this much of it. Guidance comes from `true_cfg_scale` with an empty negative prompt.

## Parts

| Part | What | Parameters |
|---|---|---:|
{parts}

Scheduler: `FlowMatchEulerDiscreteScheduler`, shift {shift}.
Tokenizer: one BPE of {vocabulary} pieces for both encoders.

## Training

Data: scenes drawn and described by `training/world.py` and `training/captions.py`, and changes to them by
`training/edits.py`, none from anywhere else. Made by `python -m training.image` on two CPU cores shared with other
work; the minutes are those of the clock. "Further" is a run of its own that went on from the checkpoint of the rows
before it (`--go-on-from`).

| Stage | Steps | Minutes | Last loss |
|---|---:|---:|---:|
{stages}

## Measured

By `python -m training.evaluate --only image`: prompts of scenes with seeds that training does not use, naming
everything; pictures drawn at the settings above and judged by `training/oracle.py`, which measures pixels. Where no
language is named, half of the prompts are English, a quarter each Korean and Japanese. An edit is right when the
background and the colour, shape, size and place of every thing, changed or not, are as they should be, and nothing else
is there. Of three in these two hundred the oracle misreads even the exact picture, so that they count as wrong.

{table}

License: Apache-2.0.
"""


def write_card(
    folder: Path,
    runs: Path,
    parts: dict[str, int],
    facts: dict[str, object],
    rows: list[Row],
    before: str | None = None,
) -> None:
    """Write `README.md`: `parts` name -> parameters, `facts` vocabulary and shift, `rows` from the evaluation.

    `before` is the card of the checkpoint that this one went on from.
    """
    stages = re.findall(r"^\| (?:Autoencoder|Text encoders|Transformer).*\|$", before or "", re.MULTILINE)
    flow = "Transformer" if before is None else "Transformer, further"
    for name, stage in (("vae", "Autoencoder"), ("text", "Text encoders"), ("flow", flow)):
        log = runs / name / "log.jsonl"
        if not log.exists():  # kept from another run
            continue
        last = json.loads(log.read_text().splitlines()[-1])
        stages.append(f"| {stage} | {last['step']} | {last['seconds'] / 60:.0f} | {last['loss']:.3f} |")
    card = _CARD.format(
        **DEFAULTS,
        **facts,
        parts="\n".join(f"| {name} | {_KINDS[name]} | {count:,} |" for name, count in parts.items()),
        stages="\n".join(stages),
        table=as_table(rows),
    )
    (folder / "README.md").write_text(card)


_KINDS = {
    "transformer": "`FluxTransformer2DModel`, 2 double and 4 single blocks, 4 heads of 32",
    "vae": "`AutoencoderKL`, 64x64 pixels to 8 channels of 16x16",
    "text_encoder": "`CLIPTextModel`, 2 layers of 128, for the pooled vector",
    "text_encoder_2": "`T5EncoderModel`, 2 layers of 128, for the sequence",
}
