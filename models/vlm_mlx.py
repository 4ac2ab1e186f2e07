"""Answers about pictures from any checkpoint that mlx-vlm loads: Apple silicon, and the CPU elsewhere."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import engine
from models.answering import Row
from models.conversation import READS_PICTURES, Turn, drops_system, rendered, room_after, turns_of
from models.engine import Asked
from models.errors import CheckpointError, InvalidInput
from models.grammar import Grammar, spelled, vocabulary_of
from models.mlx_weights import parameter_bytes, set_dtype
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, TokenLogprob

if TYPE_CHECKING:
    import mlx.core as mx

_PLACEHOLDERS = ("<|placeholder|>", "<image>", "<video>")
"""What mlx-vlm's processors put pictures in the place of, though it is no special token of most checkpoints."""


class MlxOptions(engine.Options):
    """What the catalogue entry of a chat model on MLX can say."""

    processor: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the checkpoint's processor, e.g. max_pixels: 1003520"
    )


class MlxVlmEngine(engine.ChatEngine):
    """A chat model of mlx-vlm with its own chat template, or one that answers single questions (Moondream)."""

    Options: ClassVar[type[engine.Options]] = MlxOptions
    options: MlxOptions

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece; the prompt is checked before this returns, the model runs while it is iterated.

        `is_cancelled` is asked once per token. A cancelled answer ends without a last piece.

        Raises:
            InvalidInput: the conversation does not fit the model's context or template, a picture cannot be read, or no
                answer can have the form that is asked for.
        """
        inputs = self._inputs(job.messages)
        ids = inputs["input_ids"]
        read = int(ids.shape[1])
        limit = min(job.max_tokens, room_after(read, self._context))
        choices = Choices(job, self._end_tokens, lambda: self._vocabulary)
        image_tokens = int((ids == self._image_token).sum().item()) if self._image_token is not None else 0
        told: list[ChatDelta | Exception] = []
        seen: list[mx.array] = []
        row = Row(
            Asked(job, told.append, is_cancelled),
            self._decode,
            self._end_tokens,
            read,
            image_tokens,
            limit,
            lambda token: None if job.top_logprobs is None else self._told(token, seen[-1], job.top_logprobs),
        )

        def answer() -> Iterator[ChatDelta]:
            with engine.inference(), closing(self._generate(choices, inputs, limit)) as steps:
                for token, logprobs in steps:
                    seen[:] = [logprobs]
                    ended = row.take(token)
                    yield from (piece for piece in told if isinstance(piece, ChatDelta))
                    told.clear()
                    if ended:
                        return

        return answer()

    def _generate(
        self, choices: Choices, inputs: Mapping[str, Any], limit: int
    ) -> Generator[tuple[int, mx.array], None, None]:
        """Pairs of a token and the log-probabilities that the model itself gave in its place, [vocabulary]."""
        from mlx_vlm.generate import generate_step
        from mlx_vlm.generate.common import generation_stream, wired_limit

        rest = {name: value for name, value in inputs.items() if name not in _OWN_ARGUMENTS}
        with wired_limit(self._model, [generation_stream]):  # keeps the weights where Metal can read them
            yield from generate_step(
                inputs["input_ids"],
                self._model,
                inputs.get("pixel_values"),
                inputs.get("attention_mask"),
                max_tokens=limit,
                sampler=choices,
                **rest,
            )

    def _told(self, token: int, logprobs: mx.array, count: int) -> TokenLogprob:
        import mlx.core as mx
        import numpy as np

        values = np.array(logprobs.astype(mx.float32))
        likeliest = np.argsort(-values, kind="stable")[:count].tolist()
        top = tuple(spelled(self._vocabulary, other, float(values[other])) for other in likeliest)
        return spelled(self._vocabulary, token, float(values[token]), top)

    def _inputs(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        from mlx_vlm.utils import prepare_inputs, should_add_special_tokens

        turns = turns_of(messages, self._control_tokens)
        text = rendered(self._text, turns, drops_system=self._drops_system)
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        try:
            inputs: Mapping[str, Any] = prepare_inputs(
                self._processor,
                images=[part["image"] for turn in turns for part in turn["content"] if part["type"] == "image"],
                prompts=[text],
                image_token_index=self._image_token,
                add_special_tokens=not begins
                and should_add_special_tokens(self._model.config.model_type, self._processor),
                **self.options.processor,
            )
        except ValueError as error:  # a picture that is too narrow, say
            raise InvalidInput(
                f"this model cannot read the messages: {engine.first_line(error)}", "messages"
            ) from error
        return inputs

    def _text(self, turns: Sequence[Turn]) -> str:
        if self._templates is None:
            return self._question(turns)
        text: str = self._templates.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return text

    def _question(self, turns: Sequence[Turn]) -> str:
        """The words for a model without turns; its processor places the picture itself."""
        from mlx_vlm.prompt_utils import get_chat_template

        if sum(part["type"] == "image" for turn in turns for part in turn["content"]) > 1:
            raise InvalidInput("this model reads one picture at a time", "messages")
        said = [{**turn, "content": [p for p in turn["content"] if p["type"] == "text"]} for turn in turns]
        text: str = get_chat_template(None, said, add_generation_prompt=True)
        return text

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    @cached_property
    def _vocabulary(self) -> Any:
        return vocabulary_of(self._tokenizer, self._text_config.vocab_size, sorted(self._end_tokens))

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        if "model_file" in config:
            return "brings code of its own (model_file), which is not run here"
        kind = config.get("model_type")
        return None if READS_PICTURES.search(json.dumps(config)) else f"is a {kind} model, which reads no pictures"

    def _load(self) -> None:
        from models.quantizers import leave_out_unused

        leave_out_unused([self.entry.checkpoint], ())  # mlx-vlm takes tokenizers from transformers
        try:
            import mlx.core as mx
        except ImportError:
            raise CheckpointError("the engine vlm_mlx needs the extra `mac`: pip install mlx-vlm") from None
        if self.entry.device == "cpu":
            mx.set_default_device(mx.cpu)  # before mlx-vlm is imported, which makes its stream on the default device
        from mlx_vlm.utils import get_model_path, load, load_config

        folder = get_model_path(
            str(engine.local_folder(self.entry.checkpoint) or self.entry.checkpoint), revision=self.entry.revision
        )
        if wrong := self._mismatch(load_config(folder)):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")
        self._model, self._processor = load(str(folder), trust_remote_code=False)
        self._tokenizer = getattr(self._processor, "tokenizer", self._processor)
        set_dtype(self._model, self.entry.dtype)
        self._templates = self._find_templates()
        config = self._model.config
        self._text_config = getattr(config, "text_config", config)
        self._end_tokens = frozenset(self._tokenizer.stopping_criteria.eos_token_ids)
        self._image_token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        self._context = int(
            getattr(self._text_config, "max_position_embeddings", None) or self._tokenizer.model_max_length
        )
        special = [t.content for t in self._tokenizer.added_tokens_decoder.values() if t.special]
        self._control_tokens = re.compile("|".join(map(re.escape, (*special, *_PLACEHOLDERS))))
        self._drops_system = self._templates is not None and drops_system(self._text)

    def _find_templates(self) -> Any:
        """Who applies the chat template; None where mlx-vlm knows that the model is asked by a bare question.

        Raises:
            CheckpointError: there is neither.
        """
        from mlx_vlm.prompt_utils import MODEL_CONFIG, MessageFormat

        for found in (self._processor, self._tokenizer):
            if getattr(found, "chat_template", None) is not None:
                return found
        if MODEL_CONFIG.get(self._model.config.model_type) == MessageFormat.PROMPT_ONLY:
            return None
        raise CheckpointError(f"{self.entry.checkpoint!r} has no chat template, so it cannot answer messages")

    @property
    def footprint(self) -> int:
        """Bytes of the parameters in memory; 0 when not loaded."""
        return parameter_bytes(self._model) if self.loaded else 0

    def _warm_up(self) -> None:
        from PIL import Image

        picture = ImagePart(encode(Image.new("RGB", (64, 64))))
        job = ChatJob((Message("user", (picture, TextPart("?"))),), max_tokens=2)
        for _ in self.stream(job, lambda: False):
            pass


_OWN_ARGUMENTS = ("input_ids", "pixel_values", "attention_mask")


class Choices:
    """Draws the tokens of one answer, as mlx-vlm calls its samplers.

    mlx-vlm computes a step ahead, so everything here stays in MLX's lazy arrays, except where a form decides by the
    token before. Its own penalties look at the last 20 tokens and count the prompt's; these count what was written.
    """

    def __init__(self, job: ChatJob, ends: frozenset[int], vocabulary: Callable[[], Any]) -> None:
        """Raises InvalidInput when no answer can have the job's form."""
        import mlx.core as mx

        self._job, self._ends = job, ends
        self._grammar = None if job.form is None else Grammar(vocabulary(), job.form)
        seed = secrets.randbits(64) if job.seed is None else job.seed % 2**64
        self._key = mx.random.key(seed)
        self._counts: mx.array | None = None
        self._last: mx.array | None = None

    def __call__(self, logprobs: mx.array) -> mx.array:
        """The next token [1], of log-probabilities [1, vocabulary]."""
        import mlx.core as mx

        scores = logprobs.astype(mx.float32)
        if self._job.presence_penalty or self._job.frequency_penalty:
            scores = self._penalised(scores)
        if self._grammar is not None:
            scores = self._kept_to(self._grammar, scores)
        self._last = mx.argmax(scores, axis=-1) if self._job.is_greedy else self._drawn(scores)
        return self._last

    def _penalised(self, scores: mx.array) -> mx.array:
        import mlx.core as mx

        if self._counts is None or self._last is None:
            self._counts = mx.zeros_like(scores)
        else:
            self._counts = self._counts.at[0, self._last].add(1)
        job = self._job
        return scores - job.presence_penalty * (self._counts > 0) - job.frequency_penalty * self._counts

    def _kept_to(self, grammar: Grammar, scores: mx.array) -> mx.array:
        import mlx.core as mx

        if self._last is not None:
            token: Any = self._last.item()
            if token in self._ends:  # the step ahead of an answer that has ended
                return scores
            grammar.accept(token)
        allowed = mx.array(grammar.allowed()[: scores.shape[-1]])
        return mx.where(allowed, scores, -mx.inf)

    def _drawn(self, scores: mx.array) -> mx.array:
        import mlx.core as mx
        from mlx_vlm.sample_utils import apply_top_p

        scores = scores / self._job.temperature
        if self._job.top_p < 1:
            scores = apply_top_p(scores - mx.logsumexp(scores, axis=-1, keepdims=True), max(self._job.top_p, 1e-9))
        self._key, key = mx.random.split(self._key)
        return mx.random.categorical(scores, key=key)
