"""Answers about pictures from any transformers image-text-to-text checkpoint (Qwen2.5-VL, InternVL3, Gemma 3 …)."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import engine
from models.answering import Listener, Row
from models.engine import Asked
from models.errors import CheckpointError, InvalidInput, ModelError
from models.grammar import vocabulary_of
from models.pictures import encode, open_picture
from models.sampling import Choices
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart

if TYPE_CHECKING:
    import torch

_CAPTIONERS = ("blip", "blip-2")
"""`model_type` of what transformers counts among the models that answer about pictures, but has no chat template."""
_READS_PICTURES = re.compile(r"vision|visual|image|vq_|_vl\b")
"""Found in the config.json of each of transformers' families that read pictures, and in hardly any other's."""
_MOST_TOKENS = 32_768
"""Prompts that are read at once have so many tokens together, padding included."""
Turn = dict[str, Any]
"""One message as chat templates read it: {"role", "content": [{"type": "text" | "image", …}]}."""


class VlmOptions(engine.Options):
    """What the catalogue entry of a chat model can say."""

    processor: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the checkpoint's processor, e.g. max_pixels: 1003520"
    )
    max_batch: int = Field(8, ge=1, le=64, description="waiting requests that are answered at once; 1 = one by one")


class TransformersVlmEngine(engine.ChatEngine):
    """A chat model of transformers with its own chat template."""

    Options: ClassVar[type[engine.Options]] = VlmOptions
    options: VlmOptions

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
        begun = self._begun(Asked(job, listener.tell, listener.is_cancelled))
        return listener.pieces(lambda: self._write([begun]))

    def answer(self, asked: Sequence[Asked]) -> None:
        """Answer several jobs in one batch, each as if it were alone; a job's own fault is its own."""
        begun: list[tuple[Row, Mapping[str, Any]]] = []
        for each in asked:
            try:
                begun.append(self._begun(each))
            except ModelError as error:
                each.tell(error)
        while begun:
            longest = itertools.accumulate((row.read for row, _ in begun), max)
            fitting = sum(count * read <= _MOST_TOKENS for count, read in enumerate(longest, start=1))
            together, begun = begun[: max(1, fitting)], begun[max(1, fitting) :]
            self._write(together)

    def _begun(self, asked: Asked) -> tuple[Row, Mapping[str, Any]]:
        """The row of a job, and the model's inputs for it."""
        inputs = self._inputs(asked.job.messages)
        ids = inputs["input_ids"]
        read = int(ids.shape[1])
        room = self._context - read
        if room < 1:
            raise InvalidInput(
                f"the messages are {read} tokens long, pictures included; this model reads at most {self._context - 1}",
                "messages",
                "context_length_exceeded",
            )
        choices = Choices(asked.job, lambda: self._vocabulary)
        image_tokens = 0 if self._image_token is None else int((ids == self._image_token).sum())
        limit = min(asked.job.max_tokens, room)
        return Row(asked, choices, self._decode, self._end_tokens, read, image_tokens, limit), inputs

    def _write(self, begun: Sequence[tuple[Row, Mapping[str, Any]]]) -> None:
        rows = [row for row, _ in begun]
        try:
            with engine.inference():
                self._generate(rows, _side_by_side([inputs for _, inputs in begun], self._padding))
        except ModelError as error:
            if len(begun) > 1 and all(row.untouched for row in rows):  # what is too much at once may work one by one
                for each in begun:
                    self._write([each])
            else:
                for row in rows:
                    row.fail(error)

    def _generate(self, rows: Sequence[Row], inputs: Mapping[str, Any]) -> None:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        settings = copy.deepcopy(self._model.generation_config)
        # the neutral values, not None: transformers fills None with the checkpoint's own
        settings.update(do_sample=False, temperature=1.0, top_p=1.0, top_k=50, num_beams=1)
        settings.update(max_new_tokens=max(row.limit for row in rows))
        chosen = [row.choices.processors(inputs["input_ids"].shape[1]) for row in rows]

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            scores = scores.clone()
            for i, (row, processors) in enumerate(zip(rows, chosen, strict=True)):
                try:
                    for process in [] if row.done else processors:
                        scores[i : i + 1] = process(ids[i : i + 1], scores[i : i + 1])
                except ModelError as error:
                    row.fail(error)
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

    @cached_property
    def _vocabulary(self) -> Any:
        size = self._model.get_output_embeddings().weight.shape[0]
        return vocabulary_of(self._processor.tokenizer, size, sorted(self._end_tokens))

    def _inputs(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        from jinja2.exceptions import TemplateError

        turns = _turns(messages, self._control_tokens)
        if self._drops_system:
            turns = _plain(turns)
        try:
            try:
                inputs = self._tokenize(turns)
            except TemplateError:  # a template that wants users and assistants in turn, and nobody else
                inputs = self._tokenize(_plain(turns))
        except TemplateError as error:
            raise InvalidInput(f"this model's chat template refuses the conversation: {error}", "messages") from error
        except ValueError as error:  # a picture that is too narrow, say
            raise InvalidInput(
                f"this model cannot read the messages: {engine.first_line(error)}", "messages"
            ) from error
        moved: Mapping[str, Any] = inputs.to(self._model.device, self._model.dtype)  # casts the floating ones only
        return moved

    def _tokenize(self, turns: Sequence[Turn]) -> Any:
        return self._processor.apply_chat_template(
            turns, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._processor.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        if kind in _CAPTIONERS:
            return f"is a {kind} model, which cannot answer messages; the engine 'captioner' loads it"
        return None if _READS_PICTURES.search(json.dumps(config)) else f"is a {kind} model, which reads no pictures"

    def _load(self) -> None:
        device, dtype = engine.prepare_torch(self.entry)
        source = engine.local_folder(self.entry.checkpoint) or self.entry.checkpoint

        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(source, revision=self.entry.revision)
        if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise CheckpointError(f"{self.entry.checkpoint!r} is a {config.model_type} model, which reads no pictures")
        self._processor = AutoProcessor.from_pretrained(source, revision=self.entry.revision, **self.options.processor)
        if self._processor.chat_template is None:
            raise CheckpointError(f"{self.entry.checkpoint!r} has no chat template, so it cannot answer messages")
        model = AutoModelForImageTextToText.from_pretrained(
            source, revision=self.entry.revision, config=config, dtype=dtype
        )
        self._model = model.eval().to(device)
        ends = model.generation_config.eos_token_id
        self._end_tokens = frozenset([ends] if isinstance(ends, int) else ends or [])
        self._image_token = getattr(config, "image_token_id", None)
        longest = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._context = int(longest or self._processor.tokenizer.model_max_length)
        self._padding = self._processor.tokenizer.pad_token_id or 0
        added = self._processor.tokenizer.added_tokens_decoder.values()
        self._control_tokens = re.compile("|".join(re.escape(t.content) for t in added if t.special) or r"(?!)")
        self._drops_system = self._template_drops_system()

    def _template_drops_system(self) -> bool:
        from jinja2.exceptions import TemplateError

        probe = [Message("system", (TextPart("Zq7"),)), Message("user", (TextPart("a"),))]
        try:
            return "Zq7" not in self._processor.apply_chat_template(_turns(probe, self._control_tokens), tokenize=False)
        except TemplateError:
            return True

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        from PIL import Image

        picture = ImagePart(encode(Image.new("RGB", (64, 64))))
        job = ChatJob((Message("user", (picture, TextPart("?"))),), max_tokens=1)
        for _ in self.stream(job, lambda: False):
            pass


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


def _turns(messages: Sequence[Message], control_tokens: re.Pattern[str]) -> list[Turn]:
    """The messages for a chat template, pictures decoded, neighbouring texts joined as templates do.

    What a caller writes is never a control token: `<|im_end|>` or an image placeholder in a text would end the turn,
    or stand for a picture that is not there. A zero-width space breaks it.
    """
    turns: list[Turn] = []
    for i, message in enumerate(messages):
        content: list[dict[str, Any]] = []
        for j, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                content.append({"type": "image", "image": open_picture(part.image, f"messages[{i}].content[{j}]")})
            elif content and content[-1]["type"] == "text":
                content[-1]["text"] += part.text
            else:
                content.append({"type": "text", "text": part.text})
        for words in content:
            if words["type"] == "text":
                words["text"] = control_tokens.sub(lambda m: f"{m[0][0]}\u200b{m[0][1:]}", words["text"])
        turns.append({"role": message.role, "content": content})
    return turns


def _plain(turns: Sequence[Turn]) -> list[Turn]:
    """The same words for a template that knows users and assistants only, one after the other.

    System words go before those of the user's next turn, or make one; neighbours of one role become one turn.
    """
    roles = [("user" if turn["role"] == "system" else turn["role"], turn["content"]) for turn in turns]
    plain: list[Turn] = []
    for role, group in itertools.groupby(roles, key=lambda pair: pair[0]):
        contents = [content for _, content in group if content]
        joined = [part for i, content in enumerate(contents) for part in (*_gap(i), *content)]
        plain.append({"role": role, "content": joined})
    return plain


def _gap(index: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "\n\n"}] if index else []
