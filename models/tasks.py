"""What engines are asked and what they answer: plain values that travel between processes.

Pictures travel as encoded bytes (as uploaded, already checked by `models.pictures.open_picture`) and are decoded
where they are used; results travel as encoded bytes too, so that no encoding happens in an event loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from models.errors import InvalidInput

MAX_REPETITION_PENALTY = 10.0


@dataclass(frozen=True)
class LoraUse:
    """An adapter by its configured name, and how strongly it acts."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class ImageJob:
    """Pictures to make.

    `width` and `height` in pixels, of the answer. Image i of `n` uses `seed + i`. What is done with `images` follows
    from what else is given: `mask` (alpha 0 = repaint) inpaints the first one, `strength` (0 = the original, 1 = all
    new) starts from it, `is_variation` makes others like it, and nothing of these is an instruction edit.
    """

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    n: int = 1
    negative_prompt: str | None = None
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None
    strength: float | None = None
    is_variation: bool = False
    loras: tuple[LoraUse, ...] = ()

    @property
    def warmth(self) -> Hashable:
        """What a model that has done it keeps, for the next job of the same: the LoRAs; without any, the prompt."""
        return tuple(each.name for each in self.loras) or self.prompt


@dataclass(frozen=True)
class TextPart:
    """Text of a chat message."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """An encoded picture of a chat message. `name` is what errors call it: the field that it came in."""

    image: bytes
    name: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Tool:
    """A function that an answer may call. `parameters` is a JSON schema of the object of its arguments."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One chat message; parts in the caller's order.

    An assistant's may have called tools; a tool's is the result of the call `call_id`.
    """

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[TextPart | ImagePart, ...]
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True)
class ChatJob:
    """An answer to write. `temperature` 0-2, 0 is greedy; `stop` texts are cut off and not returned.

    `form` is a JSON schema that the answer satisfies, token by token, or the texts of which it is one; None leaves it
    free. `top_logprobs`, 0-20, asks for the log-probability of each token and of so many alternatives; None for none.

    `tools` are what the model is offered. `must_call` are the names of those of which the answer has to call one and
    says nothing else, `form` or not; where `calls_several` is true it may be up to eight calls. Empty: call or answer.

    Scores are changed in this order: `repetition_penalty` (1 = none; divides positive and multiplies negative scores of
    tokens read or written), `presence_penalty` and `frequency_penalty` of what was written, `logit_bias` (token id:
    what is added, -100 to 100), the form. Then, unless it is greedy, `temperature`, `top_k` (None = all), `top_p`, and
    `min_p`, which leaves out tokens less likely than so much (0-1) of the likeliest. Log-probabilities are those of
    before all this.

    Raises:
        InvalidInput: one of these is out of its range; it names the field.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_k: int | None = None
    min_p: float = 0.0
    form: Mapping[str, Any] | tuple[str, ...] | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    must_call: tuple[str, ...] = ()
    calls_several: bool | None = None

    def __post_init__(self) -> None:
        """Check what only some callers can ask for."""
        for name, fits, allowed in (
            ("repetition_penalty", 0 < self.repetition_penalty <= MAX_REPETITION_PENALTY, "above 0 and at most 10"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("logit_bias", all(-100 <= bias <= 100 for bias in self.logit_bias.values()), "values of -100 to 100"),
        ):
            if not fits:
                raise InvalidInput(f"{name}: {getattr(self, name)!r}; allowed: {allowed}", name)

    @property
    def leaves_scores(self) -> bool:
        """Whether nothing changes the scores that the model gives, the form apart."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1)
        return not any(penalties) and not self.logit_bias

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken; scores divided by less would be no numbers any more."""
        return self.temperature < 1e-4

    @property
    def warmth(self) -> Hashable | None:
        """What a model that has answered it keeps, for the next job of the same: what it saw in the pictures."""
        return next((part.image for each in self.messages for part in each.parts if isinstance(part, ImagePart)), None)


@dataclass(frozen=True)
class Usage:
    """Tokens read (picture tokens among them) and written."""

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0


@dataclass(frozen=True)
class TokenLogprob:
    """A token as text and bytes, the natural logarithm of its probability, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: bytes
    top: tuple[TokenLogprob, ...] = ()


FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class CallDelta:
    """A piece of the call `index`, counted from 0. The first one of a call has `id` and `name`, the others neither."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class ChatDelta:
    """A piece of an answer. Only the last piece has `finish_reason` and `usage`; its text may be empty.

    Each piece names what of the job the model could not use (`ignored`): `tools`, where its template knows none.
    The last one says which of the job's `stop` texts has ended it, where that is known.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: tuple[CallDelta, ...] = ()
    ignored: tuple[str, ...] = ()
    stop: str | None = None


@dataclass(frozen=True)
class Audio:
    """Mono sound: float32 `samples` in -1 … 1 at `rate` Hz."""

    samples: np.ndarray = field(repr=False)
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class SpeechJob:
    """Words to speak. `language` is a name, BCP 47 or "auto".

    The speaker is that of `reference`, an encoded recording to imitate, or the engine's own of the name `voice`; with
    neither it is the engine's default. Where `is_literal`, the text is spoken as it stands, and is a short silence if
    it has no word. Else what stands in brackets is a stage direction and left out, and no word left is an error.
    """

    text: str
    language: str = "auto"
    reference: bytes | None = None
    reference_text: str | None = None
    speed: float = 1.0
    voice: str | None = None
    is_literal: bool = False

    @property
    def warmth(self) -> Hashable | None:
        """What a model that has spoken it keeps, for the next job of the same: the speaker of the recording."""
        return self.reference


@dataclass(frozen=True)
class Detection:
    """How speech and silence are distinguished.

    A moment counts as speech from the probability `threshold` (0-1) on. `padding` seconds before it are kept, and after
    `pause` seconds of silence a passage has ended.
    """

    threshold: float = 0.5
    padding: float = 0.13
    pause: float = 0.4


@dataclass(frozen=True)
class TranscriptionJob:
    """Speech to write down, or with `translates` to write in English. `recording` is an encoded file.

    `language` is a name or BCP 47; None lets the model find out. `prompt` is what was said before, or how it is
    spelled; `temperature` 0-1, 0 is greedy. With `times_words` each word has its times.
    """

    recording: bytes = field(repr=False)
    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    translates: bool = False
    times_words: bool = False
    detection: Detection = Detection()


@dataclass(frozen=True)
class TimedWord:
    """A word, and the seconds of the recording at which it begins and ends."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class TranscriptSegment:
    """A passage, and the seconds of the recording at which it begins and ends.

    `no_speech` is the probability (0-1) that nobody speaks in it. `tokens` are the model's, and `log_probability` their
    mean (≤ 0), where it tells them.
    """

    text: str
    start: float
    end: float
    no_speech: float = 0.0
    words: tuple[TimedWord, ...] = ()
    tokens: tuple[int, ...] = ()
    log_probability: float = 0.0


@dataclass(frozen=True)
class TranscriptPiece:
    """The next passages. The first piece comes before any is heard, and the last one has the recording's `seconds`.

    `language` is a BCP 47 tag, None while it is not known. `ignored` names what of the job the model cannot use.
    """

    segments: tuple[TranscriptSegment, ...] = ()
    language: str | None = None
    ignored: tuple[str, ...] = ()
    seconds: float | None = None
