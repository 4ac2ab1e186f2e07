"""Answers about pictures from any transformers image-text-to-text checkpoint (Qwen2.5-VL, InternVL3, Gemma 3 …)."""

from __future__ import annotations

import copy
import json
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import engine
from models.errors import CheckpointError, InvalidInput
from models.grammar import vocabulary_of
from models.pictures import encode, open_picture
from models.sampling import Choices, Processor
from models.streaming import TokenText
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, TokenLogprob, Usage

if TYPE_CHECKING:
    import torch

_CAPTIONERS = ("blip", "blip-2")
"""`model_type` of what transformers counts among the models that answer about pictures, but has no chat template."""
_READS_PICTURES = re.compile(r"vision|visual|image|vq_|_vl\b")
"""Found in the config.json of each of transformers' families that read pictures, and in hardly any other's."""
Turn = dict[str, Any]
"""One message as chat templates read it: {"role", "content": [{"type": "text" | "image", …}]}."""


class VlmOptions(engine.Options):
    """What the catalogue entry of a chat model can say."""

    processor: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the checkpoint's processor, e.g. max_pixels: 1003520"
    )


class TransformersVlmEngine(engine.ChatEngine):
    """A chat model of transformers with its own chat template."""

    Options: ClassVar[type[engine.Options]] = VlmOptions
    options: VlmOptions

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece; the prompt is checked before this returns, the model runs while it is iterated.

        `is_cancelled` is asked once per token, from the generating thread. A cancelled answer ends without a last
        piece. Closing the iterator stops the model within one token.

        Raises:
            InvalidInput: the conversation does not fit the model's context or template, a picture cannot be read, or no
                answer can have the form that is asked for.
        """
        inputs = self._inputs(job.messages)
        read = int(inputs["input_ids"].shape[1])
        room = self._context - read
        if room < 1:
            raise InvalidInput(
                f"the messages are {read} tokens long, pictures included; this model reads at most {self._context - 1}",
                "messages",
                "context_length_exceeded",
            )
        choices = Choices(job, read, lambda: self._vocabulary)
        return self._answer(job, choices, inputs, read, min(job.max_tokens, room), is_cancelled)

    def _answer(
        self,
        job: ChatJob,
        choices: Choices,
        inputs: Mapping[str, Any],
        read: int,
        limit: int,
        is_cancelled: Callable[[], bool],
    ) -> Iterator[ChatDelta]:
        tokens: queue.SimpleQueue[tuple[int, TokenLogprob | None] | BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def on_token(token: int) -> bool:
            tokens.put((token, choices.logprob(token)))
            return stop.is_set() or is_cancelled()

        def run() -> None:
            try:
                with engine.inference():
                    self._generate(choices.processors, inputs, limit, on_token)
                tokens.put(None)
            except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
                tokens.put(error)

        text, written, last = TokenText(self._decode, job.stop), 0, -1
        told: list[TokenLogprob] = []
        thread = threading.Thread(target=run, name="generate", daemon=True)
        thread.start()
        try:
            while (came := tokens.get()) is not None:
                if isinstance(came, BaseException):
                    raise came
                last, logprob = came
                written += 1
                piece = ""
                if last not in self._end_tokens:
                    piece = text.push(last)
                    told += [logprob] if logprob is not None else []
                if piece:
                    yield ChatDelta(piece, logprobs=tuple(told))
                    told.clear()
                if text.stopped:
                    break
        finally:
            stop.set()
            thread.join()
        if not text.stopped and last not in self._end_tokens and written < limit:
            return  # cancelled
        rest = text.finish()
        ended = text.stopped or last in self._end_tokens
        image_tokens = int((inputs["input_ids"] == self._image_token).sum())
        yield ChatDelta(rest, "stop" if ended else "length", Usage(read, written, image_tokens), tuple(told))

    @cached_property
    def _vocabulary(self) -> Any:
        size = self._model.get_output_embeddings().weight.shape[0]
        return vocabulary_of(self._processor.tokenizer, size, sorted(self._end_tokens))

    def _generate(
        self,
        processors: Sequence[Processor],
        inputs: Mapping[str, Any],
        limit: int,
        on_token: Callable[[int], bool],
    ) -> None:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        settings = copy.deepcopy(self._model.generation_config)
        # the neutral values, not None: transformers fills None with the checkpoint's own
        settings.update(do_sample=False, temperature=1.0, top_p=1.0, top_k=50, num_beams=1, max_new_tokens=limit)

        def watch(ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
            return torch.full((ids.shape[0],), on_token(int(ids[0, -1])), device=ids.device, dtype=torch.bool)

        with torch.inference_mode():
            self._model.generate(
                **inputs,
                generation_config=settings,
                logits_processor=LogitsProcessorList(processors),
                stopping_criteria=StoppingCriteriaList([watch]),
            )

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
    for role, group in groupby(roles, key=lambda pair: pair[0]):
        contents = [content for _, content in group if content]
        joined = [part for i, content in enumerate(contents) for part in (*_gap(i), *content)]
        plain.append({"role": role, "content": joined})
    return plain


def _gap(index: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "\n\n"}] if index else []
