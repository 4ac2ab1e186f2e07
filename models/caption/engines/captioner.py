"""Captions from BLIP and BLIP-2 checkpoints of transformers."""

from __future__ import annotations

from models.caption.blip import Blip


class BlipEngine(Blip):
    """A BLIP or BLIP-2 captioner, whichever the checkpoint is. Captions are greedy, so the same each time."""
