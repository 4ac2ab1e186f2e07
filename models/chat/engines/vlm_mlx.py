"""Answers about pictures from any checkpoint that mlx-vlm loads: Apple silicon, and the CPU elsewhere."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import checkpoints, devices
from models.chat.answering import AnswerStream
from models.chat.call_head import decided
from models.chat.calls import CallReader, reader_for
from models.chat.conversation import READS_PICTURES, Turn, pictures_in, room_after, turns_of, unreadable
from models.chat.engine import ChatEngine, PendingChat, TakeWaiting
from models.chat.mlx_batch import OWN_ARGUMENTS, MlxBatch, PreparedPrompt, picker_for
from models.chat.mlx_sampling import Choices
from models.chat.streaming import decoder
from models.chat.template import Template, probed, told_tools
from models.chat.template_text import names_tools, template_text
from models.chat.vocabulary import Vocabulary
from models.engine import Options
from models.errors import CheckpointError, DeviceLost, InvalidInput, ModelError
from models.mlx_weights import parameter_bytes, prepare_mlx, set_dtype
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, TokenLogprob

if TYPE_CHECKING:
    import mlx.core as mx

    from models.entry import ModelEntry

logger = logging.getLogger(__name__)

_PLACEHOLDERS = ("<|placeholder|>", "<image>", "<video>")
"""What mlx-vlm's processors put pictures in the place of, though it is not a special token of most checkpoints."""


class MlxOptions(Options):
    """What the catalogue entry of a chat model on MLX can say."""

    processor: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the checkpoint's processor, e.g. max_pixels: 1003520"
    )
    max_batch: int = Field(8, ge=1, le=64, description="answers that are written side by side; 1 = one by one")


class MlxVlmEngine(ChatEngine):
    """A chat model of mlx-vlm with its own chat template, or one that answers single questions (Moondream)."""

    Options: ClassVar[type[Options]] = MlxOptions
    options: MlxOptions

    @classmethod
    def takes_tools(cls, entry: ModelEntry) -> bool:
        """Where its chat template does anything with them."""
        return names_tools(template_text(entry) or "")

    @property
    def max_batch(self) -> int:
        """As the entry says; 1 for a model without turns."""
        return self.options.max_batch if not self.loaded or self._templates is not None else 1

    def answer(self, asked: Sequence[PendingChat], take_waiting: TakeWaiting = lambda _: ()) -> None:
        """Answer several jobs side by side, take_waiting from the next token on; a job's own fault is its own."""
        if self.max_batch == 1:
            super().answer(asked)
            return
        with closing(MlxBatch(self._model, self._processor, self.max_batch)) as batch:
            while asked or len(batch):
                for each in asked:
                    try:
                        with devices.inference():
                            batch.add(self._prepared(each))
                    except ModelError as error:
                        each.tell(error)
                try:
                    with devices.inference():
                        batch.step()
                except ModelError as error:
                    self._give_up(batch.rows, error)
                    return
                asked = take_waiting(self.max_batch - len(batch))

    def _give_up(self, rows: Sequence[AnswerStream], error: ModelError) -> None:
        """End the answers of a batch that broke; those not prompt may work by themselves, without a batch."""
        logger.warning("%s: a batch of %d broke: %s", self.entry.checkpoint, len(rows), error, exc_info=error.__cause__)
        for row in rows:
            if row.untouched and not isinstance(error, DeviceLost):
                super().answer([row.asked])
            else:
                row.fail(error)

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece; the prompt is checked before this returns, the model runs while it is iterated.

        `is_cancelled` is asked once per token. A cancelled answer ends without a last piece.

        Raises:
            InvalidInput: the conversation does not fit the model's context or template, a picture cannot be read, or no
                answer can have the form that is asked for.
        """
        pieces: list[ChatDelta | Exception] = []
        prompt = self._prepared(PendingChat(job, pieces.append, is_cancelled))

        def answer() -> Iterator[ChatDelta]:
            with devices.inference(), closing(self._generate(prompt)) as tokens:
                for token in tokens:
                    ended = prompt.row.take(token)
                    yield from (piece for piece in pieces if isinstance(piece, ChatDelta))
                    pieces.clear()
                    if ended:
                        return

        return answer()

    def _prepared(self, asked: PendingChat) -> PreparedPrompt:
        if self._template.call_format is None:
            asked = replace(asked, job=decided(asked.job))
        job = asked.job
        inputs = self._inputs(job)
        ids = inputs["input_ids"]
        read = int(ids.shape[1])
        limit = min(job.max_tokens, room_after(read, self._context))
        size = self._text_config.vocab_size
        choices = Choices(job, self._end_tokens, lambda: self._vocabulary, ids[0], size, limit)
        image_tokens = int((ids == self._image_token).sum().item()) if self._image_token is not None else 0
        seen: list[mx.array] = []

        def logprob(token: int) -> TokenLogprob | None:
            return None if job.top_logprobs is None else self._logprob(token, seen[-1], job.top_logprobs)

        calls = reader_for(job, self._template.call_format)
        row = AnswerStream(asked, self._decode(calls), self._end_tokens, read, image_tokens, limit, logprob, calls)
        return PreparedPrompt(row, inputs, choices, seen)

    def _generate(self, prompt: PreparedPrompt) -> Generator[int, None, None]:
        """The answer's tokens. Every sampling option is given, or mlx-vlm would take the checkpoint's."""
        from mlx_vlm.generate import generate_step
        from mlx_vlm.generate.common import generation_stream, wired_limit

        inputs = prompt.inputs
        rest = {name: value for name, value in inputs.items() if name not in OWN_ARGUMENTS}
        picker = picker_for(prompt)
        with wired_limit(self._model, [generation_stream]):  # keeps the weights where Metal can read them
            steps = generate_step(
                inputs["input_ids"],
                self._model,
                inputs.get("pixel_values"),
                inputs.get("attention_mask"),
                max_tokens=prompt.row.limit,
                temperature=0.0,
                top_p=1.0,
                top_k=0,
                logits_processors=None if picker is None else [picker],
                **rest,
            )
            with closing(steps):
                for token, _ in steps:
                    if picker is not None:
                        picker.show()
                    yield token
                    if picker is not None and picker.failure is not None:
                        raise picker.failure

    def _logprob(self, token: int, logprobs: mx.array, count: int) -> TokenLogprob:
        import mlx.core as mx
        import numpy as np

        values = np.array(logprobs.astype(mx.float32))
        likeliest = np.argsort(-values, kind="stable")[:count].tolist()
        top = tuple(self._vocabulary.spelled(other, float(values[other])) for other in likeliest)
        return self._vocabulary.spelled(token, float(values[token]), top)

    def _inputs(self, job: ChatJob) -> Mapping[str, Any]:
        from mlx_vlm.utils import prepare_inputs, should_add_special_tokens

        turns = turns_of(job.messages, self._control_tokens)
        tools = told_tools(job.tools, self._template, self._control_tokens)
        text = self._template.rendered(self._text, turns, tools)
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        try:
            inputs: Mapping[str, Any] = prepare_inputs(
                self._processor,
                images=pictures_in(turns),
                prompts=[text],
                image_token_index=self._image_token,
                add_special_tokens=not begins
                and should_add_special_tokens(self._model.config.model_type, self._processor),
                **self.options.processor,
            )
        except ValueError as error:  # of a picture's size, say
            raise unreadable(turns, self._processor.image_processor) from error
        return inputs

    def _text(self, turns: Sequence[Turn], tools: Any, *, add_generation_prompt: bool = True) -> str:
        if self._templates is None:
            return self._question(turns)
        text: str = self._templates.apply_chat_template(
            turns, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _question(self, turns: Sequence[Turn]) -> str:
        """The words for a model without turns; its processor places the picture itself."""
        from mlx_vlm.prompt_utils import get_chat_template

        if len(pictures_in(turns)) > 1:
            raise InvalidInput("this model reads one picture at a time", "messages")
        said = [{**turn, "content": [p for p in turn["content"] if p["type"] == "text"]} for turn in turns]
        text: str = get_chat_template(None, said, add_generation_prompt=True)
        return text

    def _decode(self, calls: CallReader | None) -> Callable[[list[int]], str]:
        return decoder(self._tokenizer, calls.markers if calls else ())

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer, self._text_config.vocab_size, sorted(self._end_tokens))

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        if "model_file" in config:
            return "brings code of its own (model_file), which is not run here"
        kind = config.get("model_type")
        return None if READS_PICTURES.search(json.dumps(config)) else f"is a {kind} model, which reads no pictures"

    def _load(self) -> None:
        prepare_mlx(self.entry, "mlx-vlm")
        from mlx_vlm.utils import get_model_path, load, load_config

        folder = get_model_path(
            str(checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint), revision=self.entry.revision
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
        own = getattr(self._tokenizer, "response_template", None)
        self._template = probed(self._text, special, own) if self._templates is not None else Template()

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
