"""Answers written side by side by mlx-vlm's continuous batching: a prompt joins between two tokens of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.chat.answering import AnswerStream
from models.devices import first_line
from models.errors import InferenceFailed, ModelError

if TYPE_CHECKING:
    import mlx.core as mx

    from models.chat.mlx_sampling import Choices

_NEVER = -1e9
"""The score of a token that is not chosen. Not infinity, of which a processor behind would make no number."""


@dataclass(frozen=True)
class PreparedPrompt:
    """An answer to be: what the model reads for it, and how its tokens are chosen.

    `seen` is where `row` finds the log-probabilities [vocabulary] of its token's place, if it is to tell them.
    """

    row: AnswerStream
    inputs: Mapping[str, Any] = field(repr=False)
    choices: Choices
    seen: list[mx.array] = field(repr=False)


class TokenPicker:
    """A logits processor, as mlx-vlm calls one for an answer, that leaves one token to be chosen.

    A sampler would see log-probabilities, and a repetition penalty acts on the scores themselves. mlx-vlm computes a
    token ahead, so log-probabilities wait until their token is reported. An answer's failure is its own.
    """

    def __init__(self, prompt: PreparedPrompt) -> None:
        self.failure: ModelError | None = None
        self._prompt = prompt
        self._ahead: deque[mx.array] = deque()

    def __call__(self, _: mx.array, logits: mx.array) -> mx.array:
        """Scores [1, vocabulary] that leave the picked token, of the model's."""
        import mlx.core as mx

        if self.failure is not None:
            return logits
        if self._prompt.choices.wants_logprobs:
            self._ahead.append((logits - mx.logsumexp(logits, axis=-1, keepdims=True))[0])
        try:
            token = self._prompt.choices(logits)
        except ModelError as error:
            self.failure = error
            return logits
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the fault of the other rows
            self.failure = InferenceFailed(f"no token could be chosen: {first_line(error)}")
            return logits
        return mx.where(mx.arange(logits.shape[-1]) == token[:, None], 0.0, _NEVER)

    def process_last_token(self, _: int, logits: mx.array) -> mx.array:
        """The same, without the tokens so far."""
        return self(logits, logits)

    def show(self) -> None:
        """Let the answer see the log-probabilities in the place of the token that it takes now."""
        if self._ahead:
            self._prompt.seen[:] = [self._ahead.popleft()]


def picker_for(prompt: PreparedPrompt) -> TokenPicker | None:
    """What picks an answer's tokens; None where mlx-vlm's own argmax does, which is faster."""
    return None if prompt.choices.are_plain and not prompt.choices.wants_logprobs else TokenPicker(prompt)


class MlxBatch:
    """Up to `most` answers of one model. To be closed; used from one thread."""

    def __init__(self, model: Any, processor: Any, most: int) -> None:
        from mlx_vlm.generate.ar import BatchGenerator

        self._model = model
        # prompts are read one by one: of different lengths together they would be padded
        self._generator = BatchGenerator(
            model.language_model, processor, completion_batch_size=most, prefill_batch_size=1
        )
        self._rows: dict[int, tuple[AnswerStream, TokenPicker | None]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> list[AnswerStream]:
        """The answers at work."""
        return [row for row, _ in self._rows.values()]

    def add(self, prompt: PreparedPrompt) -> None:
        """Look at the pictures of a prompt, and let it join."""
        pixels, mask = prompt.inputs.get("pixel_values"), prompt.inputs.get("attention_mask")
        rest = {name: value for name, value in prompt.inputs.items() if name not in OWN_ARGUMENTS}
        embedded = self._model.get_input_embeddings(prompt.inputs["input_ids"], pixels, mask=mask, **rest)
        rest |= {name: value for name, value in embedded.to_dict().items() if value is not None}
        chosen = picker_for(prompt)
        (number,) = self._generator.insert(
            [prompt.inputs["input_ids"][0].tolist()],
            max_tokens=[prompt.row.limit],
            prompt_kwargs=[rest],
            logits_processors=[[chosen] if chosen else None],
        )
        self._rows[number] = prompt.row, chosen

    def step(self) -> None:
        """Write the next token of every answer whose prompt is read, or read on in a prompt."""
        _, responses = self._generator.next()
        for response in responses:
            row, chosen = self._rows[response.uid]
            if chosen is not None:
                chosen.show()
            ended = row.take(response.token)
            if ended and response.finish_reason is None:
                self._generator.remove(response.uid)
            if ended:
                del self._rows[response.uid]
        for number, (row, chosen) in list(self._rows.items()):
            if chosen is not None and chosen.failure is not None:
                row.fail(chosen.failure)
                self._generator.remove(number)
                del self._rows[number]

    def close(self) -> None:
        """Give back what the answers have taken."""
        self._generator.close()


OWN_ARGUMENTS = ("input_ids", "pixel_values", "attention_mask")
"""What a processor gives that models take by other names than its own."""
