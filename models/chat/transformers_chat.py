"""Chats by a vision-language model of transformers: prompts, batches, streaming, grammars, memory for pictures.

An engine that finds its model elsewhere than in a checkpoint of transformers overrides `_open`.
"""

from __future__ import annotations

import inspect
import itertools
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import devices
from models.chat.answering import AnswerStream, Listener
from models.chat.call_head import decided
from models.chat.calls import CallReader, reader_for
from models.chat.conversation import Turn, room_after, turns_of, unreadable
from models.chat.engine import ChatEngine, PendingChat, TakeWaiting
from models.chat.picture_features import PictureFeatures, Pictures, pictures_of
from models.chat.sampling import Choices
from models.chat.streaming import decoder
from models.chat.template import probed, told_tools
from models.chat.template_text import names_tools, template_text
from models.chat.vocabulary import Vocabulary
from models.engine import Options
from models.errors import DeviceLost, InferenceFailed, ModelError, OutOfMemory
from models.generation import keep_only_token_ids, neutral
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart

if TYPE_CHECKING:
    import torch

    from models.entry import ModelEntry

_READS_WORDS = {"qformer_input_ids"}
"""Arguments of encoders that look at a picture with the question in mind (InstructBLIP)."""
_READ_LAST_STATES = ("fuyu", "llama4")
"""`model_type` of those whose language model reads the encoder's last states; all others read what is projected."""
_MAX_TOKENS = 32_768
"""Prompts that are read at once have so many tokens together, padding included."""


class BatchedOptions(Options):
    """What the catalogue entry of any such model can say."""

    max_batch: int = Field(8, ge=1, le=64, description="waiting requests that are answered at once; 1 = one by one")
    picture_cache: int = Field(
        134_217_728,
        ge=0,
        description="bytes of what was read from pictures that stay in memory, so that a conversation reads its own "
        "once; 0 = none",
    )


@dataclass(frozen=True)
class PreparedPrompt:
    """A job's answer to be, how its tokens are chosen, and what the model reads for it."""

    row: AnswerStream
    choices: Choices
    inputs: Mapping[str, Any]
    pictures: Pictures


class TransformersChat(ChatEngine):
    """A chat model of transformers with its own chat template; what opens it says where it comes from."""

    Options: ClassVar[type[Options]] = BatchedOptions
    options: BatchedOptions

    @classmethod
    def takes_tools(cls, entry: ModelEntry) -> bool:
        """Where its chat template does anything with them."""
        return names_tools(template_text(entry) or "")

    @property
    def max_batch(self) -> int:
        """As the entry says."""
        return self.options.max_batch

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece; the prompt is checked before this returns, the model runs while it is iterated.

        `is_cancelled` is asked once per token, from the generating thread. A cancelled answer ends without a last
        piece. Closing the iterator stops the model within one token.

        Raises:
            InvalidInput: the conversation does not fit the model's context or template, a picture cannot be read, or no
                answer can have the form that is asked for.
        """
        listener = Listener(is_cancelled)
        begun = self._begun(PendingChat(job, listener.tell, listener.is_cancelled))
        return listener.pieces(lambda: self._write([begun]))

    def answer(self, asked: Sequence[PendingChat], take_waiting: TakeWaiting = lambda _: ()) -> None:  # noqa: ARG002
        """Answer several jobs in one batch, each as if it were alone; a job's own fault is its own.

        TakeWaiting wait: transformers' continuous batching takes no pictures.
        """
        begun: list[PreparedPrompt] = []
        for each in asked:
            try:
                begun.append(self._begun_with_room(each))
            except ModelError as error:
                each.tell(error)
        while begun:
            longest = itertools.accumulate((each.row.read for each in begun), max)
            fitting = sum(count * read <= _MAX_TOKENS for count, read in enumerate(longest, start=1))
            together, begun = begun[: max(1, fitting)], begun[max(1, fitting) :]
            self._write(together)

    def _begun_with_room(self, asked: PendingChat) -> PreparedPrompt:
        """Memory may run out on what is read, too."""
        try:
            with devices.inference():
                return self._begun(asked)
        except OutOfMemory:
            if not self.forget_pictures():
                raise
        with devices.inference():
            return self._begun(asked)

    def forget_pictures(self) -> bool:
        """Give back the memory of what was read from pictures; whether there was any."""
        return self._features.forget()

    def _begun(self, asked: PendingChat) -> PreparedPrompt:
        if self._template.call_format is None:
            asked = replace(asked, job=decided(asked.job))
        inputs = self._inputs(asked.job)
        ids = inputs["input_ids"]
        read = int(ids.shape[1])
        limit = min(asked.job.max_tokens, room_after(read, self._context))
        choices = Choices(asked.job, lambda: self._vocabulary, ids[0], self._vocabulary_size, limit)
        image_tokens = 0 if self._image_token is None else int((ids == self._image_token).sum())
        calls = reader_for(asked.job, self._template.call_format)
        row = AnswerStream(
            asked, self._decode(calls), self._end_tokens, read, image_tokens, limit, choices.logprob, calls
        )
        return PreparedPrompt(
            row, choices, inputs, pictures_of(asked.job.messages) if self.options.picture_cache else ()
        )

    def _write(self, begun: Sequence[PreparedPrompt]) -> None:
        # together, the encoder sees the pictures of all at once, as it may never again
        pictures = begun[0].pictures if len(begun) == 1 else ()
        try:
            with devices.inference(), self._features.of(pictures):
                self._generate(begun, _side_by_side([each.inputs for each in begun], self._padding))
        except ModelError as error:
            has_room = isinstance(error, OutOfMemory) and self.forget_pictures()
            for each in begun:
                may_work = (has_room or len(begun) > 1) and not isinstance(error, DeviceLost)
                if each.row.untouched and may_work:  # too much at once may work one by one
                    self._write([each])
                else:
                    each.row.fail(error)

    def _generate(self, begun: Sequence[PreparedPrompt], inputs: Mapping[str, Any]) -> None:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        rows = [each.row for each in begun]
        settings = neutral(self._model.generation_config)
        settings.update(max_new_tokens=max(row.limit for row in rows))
        chosen = [each.choices.processors(inputs["input_ids"].shape[1]) for each in begun]

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            scores = scores.clone()
            for i, (row, processors) in enumerate(zip(rows, chosen, strict=True)):
                try:
                    for process in [] if row.done else processors:
                        scores[i : i + 1] = process(ids[i : i + 1], scores[i : i + 1])
                except ModelError as error:
                    row.fail(error)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is not the fault of the other rows
                    row.fail(InferenceFailed(f"no token could be chosen: {devices.first_line(error)}"))
            return scores

        def watch(ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
            ended = [row.take(token) for row, token in zip(rows, ids[:, -1].tolist(), strict=True)]
            return torch.tensor(ended, device=ids.device)

        with torch.inference_mode():
            self._model.generate(
                **inputs,
                generation_config=settings,
                logits_processor=LogitsProcessorList([choose] if any(chosen) else []),
                stopping_criteria=StoppingCriteriaList([watch]),
            )

    @property
    def _vocabulary_size(self) -> int:
        """How many tokens the model scores."""
        return int(self._model.get_output_embeddings().weight.shape[0])

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._processor.tokenizer, self._vocabulary_size, sorted(self._end_tokens))

    def _inputs(self, job: ChatJob) -> Mapping[str, Any]:
        turns = turns_of(job.messages, self._control_tokens)
        tools = told_tools(job.tools, self._template, self._control_tokens)

        def tokenize(turns: Sequence[Turn], tools: list[Any] | None) -> Any:
            return self._processor.apply_chat_template(
                turns, tools=tools, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )

        try:
            inputs = self._template.rendered(tokenize, turns, tools)
        except ValueError as error:  # of a picture's size, say
            raise unreadable(turns, self._processor.image_processor) from error
        moved: Mapping[str, Any] = inputs.to(self._model.device, self._model.dtype)  # casts the floating ones only
        return moved

    def _render(self, turns: Sequence[Turn], tools: Any, *, add_generation_prompt: bool) -> str:
        text: str = self._processor.apply_chat_template(
            turns, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _decode(self, calls: CallReader | None) -> Callable[[list[int]], str]:
        return decoder(self._processor.tokenizer, calls.markers if calls else ())

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry)
        model, self._processor = self._open(dtype)
        self._model = model.eval().to(device)
        keep_only_token_ids(model)
        self._features = PictureFeatures(self.options.picture_cache)
        reader = model.base_model
        look = getattr(reader, "get_image_features", None)  # which generate() and the model itself both ask
        if look is not None and not _READS_WORDS & inspect.signature(look).parameters.keys():
            whole = model.config.model_type in _READ_LAST_STATES
            reader.get_image_features = self._features.remembered(look, partial(_features, whole=whole))
        ends = model.generation_config.eos_token_id
        # the tokenizer's own too, with which the chat template ends a turn
        own_end = self._processor.tokenizer.eos_token_id
        self._end_tokens = frozenset({ends} if isinstance(ends, int) else ends or ()) | {own_end} - {None}
        self._image_token = getattr(model.config, "image_token_id", None)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._context = int(longest or self._processor.tokenizer.model_max_length)
        self._padding = self._processor.tokenizer.pad_token_id or 0
        added = self._processor.tokenizer.added_tokens_decoder.values()
        special = [token.content for token in added if token.special]
        self._control_tokens = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._template = probed(self._render, special, self._processor.tokenizer.response_template)

    @abstractmethod
    def _open(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """The model with its weights, and its processor, which has a chat template."""

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        for _ in self.stream(trial(), lambda: False):
            pass


def trial() -> ChatJob:
    """A job that has every part of a model work once."""
    from PIL import Image

    picture = ImagePart(encode(Image.new("RGB", (64, 64))))
    return ChatJob((Message("user", (picture, TextPart("?"))),), max_tokens=1)


def _features(made: Any, *, whole: bool) -> Any:
    """What a model reads of its encoder's output: the rest is several times as much."""
    if whole or made.get("pooler_output") is None:
        return made
    unread = {"last_hidden_state", "hidden_states", "attentions"}
    return type(made)(**{name: value for name, value in made.items() if name not in unread})


def _side_by_side(inputs: Sequence[Mapping[str, Any]], padding: int) -> Mapping[str, Any]:
    """The inputs of several prompts as one batch: what has a value for each token is padded on the left.

    Pictures stay in order, one after the other, as all of transformers' models read them.
    """
    import torch
    from torch.nn.functional import pad

    if len(inputs) == 1:
        return inputs[0]
    reads = [each["input_ids"].shape[1] for each in inputs]
    batch = {}
    for name in dict.fromkeys(name for each in inputs for name in each):
        values = [(each[name], read) for each, read in zip(inputs, reads, strict=True) if name in each]
        if all(value.ndim == 2 and tuple(value.shape) == (1, read) for value, read in values):
            fill = padding if name == "input_ids" else 0
            values = [(pad(value, (max(reads) - read, 0), value=fill), read) for value, read in values]
        batch[name] = torch.cat([value for value, _ in values])
    return batch
