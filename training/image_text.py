"""The two text encoders of the image model, and the tokenizer they share.

Before they meet a picture they learn to tell what a prompt says, be it a caption or an instruction to change a picture:
a T5 encoder in its sequence, a CLIP text model in its pooled vector. So the same scene told in English, Korean or
Japanese gives nearly the same conditioning, and the flow transformer finds everything said where it looks for it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from training.captions import LANGUAGES, Language, caption
from training.edits import KINDS, Edit, instruction, random_edit
from training.loop import Schedule, fit
from training.world import COLOURS, PLACES, SHAPES, Scene, Thing, is_usual, random_scene

LENGTH: Final = 40
"""Tokens of every prompt: Flux masks no padding, so training and use must pad alike (`max_sequence_length`)."""
WIDTH: Final = 128
BATCH: Final = 64
_VOCABULARY: Final = 768
_CHANGE: Final = 5
"""What is asked of an instruction: the kind of change, the target's shape and colour, the result's shape and colour."""
_QUERIES: Final = 1 + len(PLACES) + len(COLOURS) + _CHANGE
_INSTRUCTIONS: Final = 0.3
"""Their share of the prompts that the encoders learn from."""
_UNTOLD: Final = -100
"""Cross-entropy leaves this class out."""
_LANGUAGE_SHARES: Final = (0.5, 0.25, 0.25)
_UNKNOWN: Final = 0.01


def prompt_of(wanted: Scene | Edit, rng: np.random.Generator) -> str:
    """What someone may have asked for to get this scene or this change, in a random language."""
    language: Language = LANGUAGES[rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES)]
    if isinstance(wanted, Scene):
        # Were any place possible where none is named, the model would draw the same thing at several of them.
        return caption(wanted, rng, language, placed=not is_usual(wanted))
    return instruction(wanted, rng, language)


def random_wish(rng: np.random.Generator) -> Scene | Edit:
    """Something that a prompt may ask for."""
    return random_edit(rng) if rng.random() < _INSTRUCTIONS else random_scene(rng, things=(0.0, 0.45, 0.33, 0.22))


def train_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of this world's prompts."""
    rng = np.random.default_rng(21)
    return learn_tokenizer([prompt_of(random_wish(rng), rng) for _ in range(20_000)], _VOCABULARY)


def learn_tokenizer(prompts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """BPE over lower-cased prompts; Japanese is cut where the script changes, so that no piece spans two words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))  # noqa: S106 (not that kind of token)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Split(Regex("[ァ-ヿ]+|[ぁ-ゟ]+|[一-龯]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        prompts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "</s>", "<unk>"])
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=LENGTH,
        padding_side="right",
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> torch.Tensor:
    """Int64 [n, LENGTH], as `FluxPipeline` does it for both encoders."""
    encoded = tokenizer(prompts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = encoded.input_ids
    return ids


class TextEncoders(nn.Module):
    """T5 for the sequence, CLIP for the pooled vector."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.t5 = T5EncoderModel(
            T5Config(
                vocab_size=vocabulary,
                d_model=WIDTH,
                d_kv=32,
                num_heads=4,
                d_ff=256,
                num_layers=2,
                relative_attention_num_buckets=32,
                relative_attention_max_distance=64,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
                pad_token_id=0,
                eos_token_id=1,
                decoder_start_token_id=0,
                is_encoder_decoder=False,
                use_cache=False,
            )
        )
        look_near(self.t5)
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=LENGTH,
                projection_dim=WIDTH,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
            )
        )

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [n, LENGTH] -> (sequence [n, LENGTH, WIDTH], pooled [n, WIDTH]), as `FluxPipeline` takes them."""
        return self.t5(ids)[0], self.clip(ids).pooler_output


def look_near(t5: T5EncoderModel) -> None:
    """Let the heads begin with the word before, the word after, the near and all words.

    T5's position bias starts at nearly nothing and grows by one learning rate a step; what stands next to what is all
    that these prompts consist of, and without this it takes thousands of steps to notice. And the usual spread of 1 of
    the embeddings drowns what the layers add, and learning takes several times as long.
    """
    nn.init.normal_(t5.shared.weight, std=0.1)
    attention = t5.encoder.block[0].layer[0].SelfAttention
    distances = torch.arange(-LENGTH, LENGTH + 1)
    buckets = attention._relative_position_bucket(
        distances,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    with torch.no_grad():
        for bucket in buckets.unique():
            distance = distances[buckets == bucket].float().mean()
            for head, (nearest, slope) in enumerate(((-1, 1.0), (1, 1.0), (0, 0.5), (0, 0.0))):
                attention.relative_attention_bias.weight[bucket, head] = -slope * (distance - nearest).abs().clamp(
                    max=8
                )


class _Readout(nn.Module):
    """Questions to the encoders, used in training only: which background, what is where, which pairs, which change."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(_QUERIES, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.pooled = nn.Linear(WIDTH, _QUERIES * WIDTH)
        self.background = nn.Linear(WIDTH, len(COLOURS))
        self.place = nn.Linear(WIDTH, 1 + len(SHAPES) + len(COLOURS) + 2)
        self.pairs = nn.Linear(WIDTH, len(SHAPES) * 3)
        self.change = nn.Linear(WIDTH, max(1 + len(KINDS), len(SHAPES), len(COLOURS)))

    def forward(self, sequence: torch.Tensor, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One answer vector per question, [n, questions, WIDTH], from the sequence and from the pooled vector."""
        queries = self.queries.expand(len(sequence), -1, -1)
        return self.attention(queries, sequence, sequence)[0], self.pooled(pooled).unflatten(-1, (_QUERIES, WIDTH))


class TextTask(nn.Module):
    """The encoders with their readout: everything that the text stage trains."""

    def __init__(self, encoders: TextEncoders) -> None:
        super().__init__()
        self.encoders = encoders
        self.readout = _Readout()

    def loss(self, sequence: torch.Tensor, pooled: torch.Tensor, wishes: list[Scene | Edit]) -> torch.Tensor:
        """How badly the two encodings of these wishes' prompts tell the wishes (their sum, in nats)."""
        targets = _targets(wishes)
        return torch.stack([self._loss_of(answers, *targets) for answers in self.readout(sequence, pooled)]).sum()

    def _loss_of(
        self,
        answers: torch.Tensor,
        background: torch.Tensor,
        places: torch.Tensor,
        pairs: torch.Tensor,
        change: torch.Tensor,
    ) -> torch.Tensor:
        for_ground, for_places, for_pairs, for_change = torch.split(
            answers, [1, len(PLACES), len(COLOURS), _CHANGE], dim=1
        )
        at_places = self.readout.place(for_places).float()
        shape, colour, size = torch.split(at_places, [1 + len(SHAPES), len(COLOURS), 2], dim=-1)
        told = change[:, 0] == 0  # an instruction says nothing of the other things
        return (
            F.cross_entropy(self.readout.background(for_ground[:, 0]).float(), background)
            + F.cross_entropy(shape.transpose(1, 2), places[..., 0])
            + F.cross_entropy(colour.transpose(1, 2), places[..., 1])
            + F.cross_entropy(size.transpose(1, 2), places[..., 2])
            + 4 * F.binary_cross_entropy_with_logits(self.readout.pairs(for_pairs[told]).float(), pairs[told])
            + F.cross_entropy(self.readout.change(for_change).float().transpose(1, 2), change)
        )


def _targets(wishes: list[Scene | Edit]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Background [n]; shape (0: none), colour and size per place [n, 5, 3]; (colour, shape x any, big, small)
    [n, 8, 24]; kind of change (0: none), target's and result's shape and colour [n, 5]."""
    background = torch.full((len(wishes),), _UNTOLD)
    places = torch.full((len(wishes), len(PLACES), 3), _UNTOLD)
    pairs = torch.zeros(len(wishes), len(COLOURS), len(SHAPES), 3)
    change = torch.full((len(wishes), _CHANGE), _UNTOLD)
    for i, image_request in enumerate(wishes):
        if isinstance(image_request, Edit):
            _tell_change(image_request, background[i : i + 1], places[i], change[i])
            continue
        background[i] = COLOURS.index(image_request.background)
        places[i, :, 0] = 0
        change[i, 0] = 0
        for thing in image_request.things:
            shape, colour, size = _numbers(thing)
            places[i, PLACES.index(thing.place)] = torch.tensor([shape + 1, colour, size])
            pairs[i, colour, shape, [0, 1 + size]] = 1
    return background, places, pairs.flatten(2), change


def _tell_change(edit: Edit, background: torch.Tensor, places: torch.Tensor, change: torch.Tensor) -> None:
    """Fill in one instruction's background [1], places [5, 3] and change [5]."""
    change[0] = 1 + list(KINDS).index(edit.kind)
    if edit.kind == "background":
        background[0] = COLOURS.index(edit.after.background)
    for number, thing in ((1, edit.target), (3, edit.result)):
        if thing is not None:
            change[number], change[number + 1] = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
    if edit.kind == "add" and edit.result is not None:
        shape, colour, size = _numbers(edit.result)
        places[PLACES.index(edit.result.place)] = torch.tensor([shape + 1, colour, size])


def _numbers(thing: Thing) -> tuple[int, int, int]:
    return SHAPES.index(thing.shape), COLOURS.index(thing.colour), int(thing.size == "small")


def train_text(task: TextTask, tokenizer: PreTrainedTokenizerFast, steps: int) -> None:
    """Train in place (log: `.runs/image/text`)."""

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        wishes = [random_wish(rng) for _ in range(BATCH)]
        ids = tokenize(tokenizer, [prompt_of(image_request, rng) for image_request in wishes])
        forgotten = torch.from_numpy(rng.random(ids.shape) < _UNKNOWN) & (ids > 1)
        sequence, pooled = task.encoders(ids.masked_fill(forgotten, tokenizer.unk_token_id))
        return task.loss(sequence, pooled, wishes)

    fit("image/text", task, loss_of, Schedule(steps=steps, lr=2e-3, muon=1e-2, hold=steps // 2, seed=21))
