"""Answers about one picture from moondream2, which brings its own code: run only where the configuration allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from models import checkpoints, devices
from models.chat.conversation import open_for_chat
from models.chat.engine import ChatEngine
from models.chat.streaming import TokenText
from models.engine import Options
from models.errors import CheckpointError, InvalidInput
from models.generation import keep_only_token_ids
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, Usage

_PATCHES = 729
"""Tokens that the model reads for a picture: 27 x 27 patches."""


class MoondreamOptions(Options):
    """What the catalogue entry of a moondream2 can say."""

    trust_remote_code: bool = Field(
        False, description="run the code in the checkpoint, which can do whatever this server can; name a revision too"
    )


class MoondreamEngine(ChatEngine):
    """moondream2 by the `query` of its own class (`AutoModelForCausalLM`, revisions of 2025 and later)."""

    Options: ClassVar[type[Options]] = MoondreamOptions
    options: MoondreamOptions

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer to all words of the conversation about its one picture, piece by piece.

        Raises:
            InvalidInput: there is not exactly one picture, or something is asked for that the model's code has not.
        """
        for name, given in (
            ("response_format", job.form),
            ("tool_choice", job.must_call or None),
            ("logprobs", job.top_logprobs),
            ("presence_penalty", job.presence_penalty or None),
            ("frequency_penalty", job.frequency_penalty or None),
            ("repetition_penalty", None if job.repetition_penalty == 1 else job.repetition_penalty),
            ("logit_bias", job.logit_bias or None),
            ("top_k", job.top_k),
            ("min_p", job.min_p or None),
        ):
            if given is not None:
                raise InvalidInput(f"{name}: this model (moondream) has no such thing", name, "unsupported_parameter")
        pictures = [
            open_for_chat(part.image, part.name or f"messages[{i}].content[{j}]")
            for i, message in enumerate(job.messages)
            for j, part in enumerate(message.parts)
            if isinstance(part, ImagePart)
        ]
        if len(pictures) != 1:
            raise InvalidInput(f"this model answers about one picture, and there are {len(pictures)}", "messages")
        return self._answer(job, pictures[0], _words(job.messages), is_cancelled)

    def _answer(
        self, job: ChatJob, picture: Any, question: str, is_cancelled: Callable[[], bool]
    ) -> Iterator[ChatDelta]:
        import torch

        said: list[str] = []
        ignored = ("tools",) if job.tools else ()
        text = TokenText(lambda numbers: "".join(said[number] for number in numbers), job.stop)
        settings = {"temperature": job.temperature, "top_p": job.top_p, "max_tokens": job.max_tokens}
        # the model draws from the global generators, which are this engine's alone in its process
        torch.manual_seed(torch.seed() if job.seed is None else job.seed)
        with devices.inference(), torch.inference_mode():
            pieces = self._model.query(image=picture, question=question, stream=True, settings=settings)["answer"]
            for piece in pieces:
                if is_cancelled():
                    return
                said.append(piece)
                if certain := text.push(len(said) - 1):
                    yield ChatDelta(certain, ignored=ignored)
                if text.stopped:
                    break
        ended = text.stopped or len(said) < job.max_tokens
        read = _PATCHES + len(self._tokenizer(question)["input_ids"])
        yield ChatDelta(text.finish(), "stop" if ended else "length", Usage(read, len(said), _PATCHES), ignored=ignored)

    @classmethod
    def check(cls, entry: Any) -> None:
        """Refuse code that nobody has allowed, before anything is loaded."""
        super().check(entry)
        if not MoondreamOptions.model_validate(entry.options).trust_remote_code:
            raise CheckpointError(
                f"{entry.checkpoint!r} runs its own code; options.trust_remote_code: true allows it; name a revision"
            )

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        return None if kind == "moondream1" else f"is a {kind} model, not moondream2 (which calls itself moondream1)"

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry)
        self.check(self.entry)
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint

        from transformers import AutoModelForCausalLM, AutoTokenizer

        revision = self.entry.revision
        self._tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(source, revision=revision, trust_remote_code=True, dtype=dtype)
        if not hasattr(model, "query"):
            raise CheckpointError(
                f"{self.entry.checkpoint!r} is older than moondream2's `query`; name a newer revision"
            )
        self._model = model.eval().to(device)
        keep_only_token_ids(model)

    def _modules(self) -> list[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        from PIL import Image

        picture = ImagePart(encode(Image.new("RGB", (64, 64))))
        for _ in self.stream(ChatJob((Message("user", (picture, TextPart("?"))),), max_tokens=1), lambda: False):
            pass


def _words(messages: tuple[Message, ...]) -> str:
    """All that was said, one turn after the other: the model knows questions, not conversations."""
    said = (" ".join(part.text for part in message.parts if isinstance(part, TextPart)) for message in messages)
    return "\n".join(text for text in said if text)
