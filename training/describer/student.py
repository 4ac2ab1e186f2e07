"""The language model that tells what the reader's tokens say. It learns to without a picture: from what scenes show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel, apply_rotary_pos_emb

from models.sight import MERGE, PATCH, TOKENS, Shown, believed
from training import wordings
from training.art.subjects import subjects
from training.conversations import Rows, pack
from training.describer.labels import shown_in
from training.describer.naming import words
from training.describer.photographs import open_photographs
from training.describer.pool import FOLDER, SEEN, scene_of, world
from training.describer.questions import SEVERAL, ask, ask_two
from training.describer.sight import SPELLS, TOLD, WIDTH, new_reader
from training.describer.structured import structured
from training.describer.talks import ROW, Talks, language_of
from training.describer.vocabulary import vocabulary
from training.loop import Schedule, fit
from training.processes import ahead
from training.questions import TASK_PROMPTS
from training.vlm_tokenizer import SPECIAL_TOKENS, train_tokenizer
from training.world import PLACES, SHAPES

_VOCABULARY: Final = 4096
_LOUD: Final = 3.5
"""How much longer a name is in a drawing's token than in a text, at first."""
_BESIDE: Final = 0.4
"""How long in comparison is what stands beside a name in the same token."""
_ALONE: Final = ("thing", "ground", "arrangement", "letter")
_SURE: Final = 0.5
"""The share of the drawings about which there is hardly a doubt."""
_GUIDED: Final = 0.2
"""How much it counts beside answers what a name means."""
_MATCHING: Final = 2
"""Layers of which some heads look for the same word, at first."""
_SLOW: Final = 12
"""Of a head's pairs of numbers, those before this one turn too fast with the position to match anything far away."""


def configuration(tokenizer: Any) -> Qwen2_5_VLConfig:
    """The architecture as transformers has it; its own vision tower is not built."""
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 640,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "bos_token_id": numbers["<|endoftext|>"],
            "eos_token_id": numbers["<|im_end|>"],
            "use_cache": True,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 1,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "spatial_patch_size": PATCH,
            "temporal_patch_size": 2,
            "out_hidden_size": WIDTH,
            "window_size": 112,
            "fullatt_block_indexes": [0],
        },
        tie_word_embeddings=True,
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
    )


def open_tokenizer() -> Any:
    """The tokenizer, learnt from what is asked and answered if there is none yet."""
    folder = FOLDER / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(_texts(60_000), _VOCABULARY).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _texts(count: int) -> Iterator[str]:
    """Questions and answers. No words of pictures: a model that reads letter by letter needs tokens of letters."""
    rng = np.random.default_rng(94)
    photographs = open_photographs()
    yield from TASK_PROMPTS.values()
    yield from wordings.SYSTEM
    yield from ["system\n", "user\n", "assistant\n"] * 200
    guesses = photographs.guesses(photographs.draw(2000, rng)[0])
    before = replace(scene_of(0, unseen=False), word=None)
    for i in range(count):
        language = language_of(rng)
        scene = replace(scene_of(int(rng.integers(SEEN)), unseen=False), word=None)
        chance = rng.random()
        if chance < 0.2:
            said = photographs.ask(guesses[i % len(guesses)], rng, language)
        elif chance < 0.3:
            said = structured(scene, rng, language)
        elif chance < 0.4:
            said = ask_two(before, scene, rng, language)
        else:
            drawn = ask(scene, rng, language)
            if drawn is None:
                continue
            said = drawn
        before = scene
        yield said.question
        yield said.answer


class Student(nn.Module):
    """Reader and language model; scores are by the tied embedding."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.config = configuration(tokenizer)
        self.image_token: int = self.config.image_token_id
        self.padding: int = self.config.text_config.bos_token_id
        self.reader = new_reader()
        self.language_model = Qwen2_5_VLTextModel(self.config.text_config)
        self.meant = nn.Linear(WIDTH, WIDTH, bias=False)
        """Asks after the first layer which thing a name means, in any language."""
        self.guide = nn.Linear(WIDTH, 1 + SEVERAL)
        """Asks after the second where that is. Neither serves."""

    def find_as(self, sight: dict[str, Tensor], spelling: dict[str, Tensor]) -> None:
        """Take over what finds from the weights of two readers: one has learnt to spell, the other all else."""
        told = {name: weight for name, weight in self.reader.state_dict().items() if name.startswith(TOLD)}
        spells = {name: weight for name, weight in spelling.items() if name.startswith(SPELLS)}
        self.reader.load_state_dict({**sight, **spells, **told})

    @torch.no_grad()
    def say_by_name(self) -> None:
        """Let what is found be told by the embeddings of its names' tokens, which the model then only has to repeat.

        And let some heads find what is alike: what a question names has to be found among what is told, which such
        models learn last of all.
        """
        table = self.language_model.get_input_embeddings().weight
        length = table.norm(dim=1).mean() * _LOUD
        for part, answers in vocabulary().items():
            told = torch.zeros(len(answers), table.shape[1])
            for row, names in enumerate(answers):
                for name in names:
                    for text in (name, f" {name}"):
                        told[row] += table[self.tokenizer(text, add_special_tokens=False)["input_ids"]].mean(0)
            told = functional.normalize(told) * length * (1 if part in _ALONE else _BESIDE)
            if part == "place":
                self.reader.tokens[: len(told)] = told
                self.reader.tokens[len(told) :] = _short(self.reader.tokens[len(told) :], length)
            else:
                self.reader.get_parameter(f"said.{part}.weight").copy_(told)
        self.reader.get_parameter("said.other.weight").copy_(self.reader.get_parameter("said.thing.weight"))
        for part in ("largest", "same"):
            beside = self.reader.get_parameter(f"said.{part}.weight")
            beside.copy_(_short(beside, length))
        for layer in self.language_model.layers[:_MATCHING]:
            _match(layer.self_attn)

    def answer_loss(self, rows: Rows, seen: Tensor) -> Tensor:
        """Cross-entropy of the answers' tokens, and how badly the names in questions are understood.

        `seen`: the tokens of all pictures, [pictures, 16, width].
        """
        embedding = self.language_model.get_input_embeddings()
        embeds = embedding(rows.tokens)
        shown = rows.tokens == self.image_token
        embeds = embeds.masked_scatter(shown[..., None], seen.flatten(0, 1)[rows.pictures].to(embeds.dtype))
        output = self.language_model(
            inputs_embeds=embeds,
            position_ids=rows.positions,
            attention_mask={"full_attention": rows.sees},
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = output.last_hidden_state
        learnt = (rows.weights[:, 1:] > 0).nonzero(as_tuple=True)
        logits = functional.linear(hidden[:, :-1][learnt], embedding.weight).float()
        weights = rows.weights[:, 1:][learnt]
        losses = functional.cross_entropy(logits, rows.tokens[:, 1:][learnt], reduction="none")
        loss: Tensor = (losses * weights).sum() / weights.sum()
        return loss + self._guided(rows, output.hidden_states) if len(rows.names) else loss

    def _guided(self, rows: Rows, hidden: Sequence[Tensor]) -> Tensor:
        """How badly the names of things are understood; answers alone teach that last of all."""
        where, which = rows.meanings[:, 0], rows.meanings[:, 1]
        after = [
            functional.rms_norm(each[rows.names[:, 0], rows.names[:, 1]].float(), (WIDTH,)) for each in hidden[1:3]
        ]
        things = self.meant(after[0]) @ self.reader.get_parameter("said.thing.weight").T
        loss = functional.cross_entropy(things.float(), which)
        loss = loss + functional.cross_entropy(self.guide(after[1]).float(), where)
        looked, right = self._looked(rows, hidden[1])
        return _GUIDED * (loss + functional.cross_entropy(looked.float(), right) if len(right) else loss)

    def _looked(self, rows: Rows, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Where the first head of the second layer looks from names, as scores of the row, and where it should.

        That is the token of the place where the thing is, or the one after all places if it is nowhere. Asked of names
        in questions about one drawing, of a thing that is there once at most.
        """
        layer = self.language_model.layers[1]
        given, size = layer.input_layernorm(hidden), layer.self_attn.head_dim
        turned = self.language_model.rotary_emb(given, rows.positions)
        queries, keys = (part(given)[:, None, :, :size] for part in (layer.self_attn.q_proj, layer.self_attn.k_proj))
        queries, keys = apply_rotary_pos_emb(queries, keys, *turned)
        row, column = rows.names.T
        visible = rows.sees[row, 0, column]
        shown = visible & (rows.tokens[row] == self.image_token)
        asked = (shown.sum(1) == TOKENS) & (rows.meanings[:, 0] != SEVERAL)
        row, column, visible, at = row[asked], column[asked], visible[asked], rows.meanings[asked, 0]
        scores = (keys[row, 0] @ queries[row, 0, column][..., None])[..., 0] * layer.self_attn.scaling
        tokens = shown[asked].nonzero()[:, 1].view(-1, TOKENS)
        right = tokens.gather(1, torch.where(at > 0, at - 1, len(PLACES))[:, None])[:, 0]
        return scores.float().masked_fill(~visible, -torch.inf), right


def _short(rows: Tensor, length: Tensor) -> Tensor:
    """Short enough to stand beside a name of that length."""
    return functional.normalize(rows) * length * _BESIDE


def of_a_kind() -> Tensor:
    """Which things are of one category, bool [things, things]."""
    kinds = [None, *(subject.category for subject in subjects().values()), *(["shape"] * len(SHAPES))]
    return torch.tensor([[one == other for other in kinds] for one in kinds])


def doubted(things: Tensor, alike: Tensor) -> Tensor:
    """Beliefs, float [n, places, things], about things, int64 [n, places], as in designs that a reader has not learnt.

    Of half of the drawings it is nearly sure, of the others more or less, and sometimes wrong: then mostly with a thing
    of the same kind.
    """
    count, device = len(things), things.device
    noise = torch.randn(count, 1, len(alike), device=device)
    scores = noise + alike[things] * (1 + 0.3 * noise)
    sure = torch.where(torch.rand(count, 1, 1, device=device) < _SURE, 9.0, 0.0)
    strength = sure.maximum(torch.rand(count, 1, 1, device=device) * 6 + 1.5)
    right = functional.one_hot(things, len(alike)).bool()
    return believed(2 * torch.where(right, strength, scores), things > 0)


def _match(attention: Any) -> None:
    """Let the first group of heads ask for what is like the token that asks (mimetic initialisation, Trockman and
    Kolter 2023)."""
    half = attention.head_dim // 2
    rows = [row for row in range(attention.head_dim) if row % half >= _SLOW]
    alike = torch.empty(len(rows), attention.k_proj.in_features)
    nn.init.orthogonal_(alike)
    attention.k_proj.weight[rows] = alike
    for head in range(attention.num_key_value_groups):
        attention.q_proj.weight[[head * attention.head_dim + row for row in rows]] = alike


def learn_words(
    student: Student, schedule: Schedule, batch: int, name: str = "describer/words", workers: int = 0
) -> None:
    """Teach what speaks (log: `.runs/{name}`); what finds stays as it is and is not asked.

    So many processes draw conversations beside this one.
    """

    @lru_cache(maxsize=200_000)
    def encode(text: str) -> list[int]:
        ids: list[int] = student.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    reader = student.reader
    device = reader.tokens.device
    for part, weight in reader.named_parameters():
        weight.requires_grad_(part.startswith(TOLD))
    talks = Talks(encode, student.image_token, partial(scene_of, unseen=False), open_photographs())

    def draw(step: int) -> tuple[Shown, Tensor, Rows]:
        rng = np.random.default_rng((schedule.seed, step))
        scenes, guesses, said = talks.draw(batch, max(1, batch // 7), max(2, 2 * batch // 3), rng)
        return shown_in(scenes, words()), guesses, pack(said, student.padding, ROW)

    # Before other processes are forked, which then have it too.
    world(unseen=False)
    words()
    drawn, alike = ahead(draw, workers), of_a_kind().to(device)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        shown, guesses, rows = drawn(step)
        shown = shown.to(device)
        told = reader.told(shown, doubted(shown.things, alike))
        taken = reader.photographed(guesses.to(device))[:, None].expand(-1, TOKENS, -1)
        return student.answer_loss(rows.to(device), torch.cat([told, taken.to(told.dtype)]))

    fit(name, student, loss_of, schedule)
