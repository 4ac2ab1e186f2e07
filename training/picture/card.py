"""The picture model's card: what it draws and what it does not, how it was made and how good it is."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from training.evaluate import Row, as_table
from training.picture.judging import DEFAULTS
from training.picture.wishes import classes
from training.world import SHAPES

_CARD: Final = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [image-to-image]
language: [en, ko, ja]
---

# Atelier's built-in picture model

A small FLUX-type pipeline that draws 128x128 pictures of everyday things: one to three of them, alone, in a row, on,
above or in front of each other, on plain grounds of eight colours and on sixteen painted ones (space, the sea, a
beach, a forest, a city at night, …). Run as `FluxKontextPipeline` it also changes such a picture by an instruction:
another ground, another thing for one, a thing more or less, bigger or smaller, a shape in another colour. It knows
{known_count} things, of which {claimed_count}, listed below, are recognised however they are drawn, and the eight
shapes of older versions (circles, squares, triangles, stars, hearts, rings, crosses, diamonds) in eight colours.
**Of a prompt for something else it draws what it knows of it**, and it cannot write. It exists so that a server without
a GPU or a download draws, and runs the same code as with FLUX.

Prompts: English, Korean or Japanese, up to {max_sequence_length} tokens. "3d render" and the like ask for another
style.

```python
import models.image.painter
from diffusers import AutoPipelineForText2Image

pipeline = AutoPipelineForText2Image.from_pretrained("models/builtin/image")
picture = pipeline(
    "a cute cat sitting on a chair, illustration",
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
import models.image.painter
from diffusers import FluxKontextPipeline

editor = FluxKontextPipeline.from_pretrained("models/builtin/image")
changed = editor(
    image=picture,
    prompt="make the background space",
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

These settings are the recommended ones. Three of its parts are classes of `models/image`, so this is to be run where
Atelier is installed or from its repository. The text encoder reads a prompt as a wish, and tells for each thing
sixteen vectors of what it looks like and where it stands. The transformer begins from a draft that is made of these,
paints the ground, and finds in a picture what a change is about. **Things are drawings that it has learnt, near-copies
of its designs**: decoded from their vectors as large as can be, they are a layer of pixels over what is painted, and
so is what a change leaves as it was, and what is cut out for another ground. With an empty prompt the editor makes a
variation: the same things elsewhere, before their ground painted anew. Weights are kept in 7 bits.

## Parts

| Part | What | Parameters |
|---|---|---:|
{parts}

Scheduler: `FlowMatchEulerDiscreteScheduler`, shift {shift}. Tokenizer: one BPE of {vocabulary} pieces for both
encoders.

## Training

Data: scenes composed by `training/composer`, of drawings that `training/art` fetches: Noto Emoji (Apache 2.0) and
Fluent Emoji 3D (MIT), and shapes; their prompts and changes. Made by `python -m training.picture` on one or two CPU
cores ([how](../../../docs/training.md#the-picture-model)); the minutes are those of the clock.

| Stage | Steps | Minutes | Last loss |
|---|---:|---:|---:|
{stages}

## Measured

By `python -m training.picture --only evaluate`, at the settings above. A thing is claimed when it was recognised at
once each of three times that it was drawn alone, once more small, and once more in 3D. The figures about things are
of the claimed ones, in scenes and wordings that no training used, judged by a recogniser
(`training/picture/recogniser.py`) that learnt from designs that this model never saw; what it gets right of exact
pictures is the most that can be reached. Shapes are judged by `training/oracle.py`, which measures pixels.

{table}

Claimed: {claimed}.

License: Apache-2.0.
"""
_KINDS: Final = {
    "transformer": "`PaintingTransformer`: FLUX's, 8 single blocks, 5 heads of 32, with a draft and a finder",
    "vae": "`LayeredAutoencoder`, 128x128 pixels to 8 channels of 16x16, and a layer of pixels",
    "text_encoder": "`CLIPTextModel`, all 0: the pooled vector tells nothing",
    "text_encoder_2": "`WishEncoder`: a T5 encoder of 2 layers of 128, and the vectors of every drawing",
}
_STAGES: Final = {
    "autoencoder": "Autoencoder",
    "decoder": "Its decoder, wider",
    "text": "Reading prompts",
    "flow": "Transformer",
    "finder": "Its finder alone",
    "last-stages": "The decoder's last stages",
}


def write_card(
    folder: Path, runs: Path, parts: Mapping[str, int], facts: Mapping[str, object], claimed: Sequence[str],
    rows: Sequence[Row],
) -> None:  # fmt: skip
    """Write `README.md`: `parts` name -> parameters, `facts` vocabulary and shift, `rows` from the evaluation."""
    stages = []
    for name, stage in _STAGES.items():
        if not (runs / name / "log.jsonl").exists():  # made elsewhere
            continue
        last = json.loads((runs / name / "log.jsonl").read_text().splitlines()[-1])
        stages.append(f"| {stage} | {last['step']} | {last['seconds'] / 60:.0f} | {last['loss']:.3f} |")
    card = _CARD.format(
        **DEFAULTS,
        **facts,
        claimed_count=len(claimed),
        known_count=len(classes()) - len(SHAPES),
        claimed="\n".join(textwrap.wrap(", ".join(claimed), 118)),
        parts="\n".join(f"| {name} | {_KINDS[name]} | {count:,} |" for name, count in parts.items()),
        stages="\n".join(stages),
        table=as_table(list(rows)),
    )
    (folder / "README.md").write_text(card, "utf-8")
