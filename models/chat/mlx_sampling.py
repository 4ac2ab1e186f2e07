"""How the next token of an answer is chosen on MLX: penalties, a form to keep to, and a seed of the job's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.chat.grammar import Grammar, form_of
from models.chat.sampling import check_bias
from models.chat.vocabulary import Vocabulary
from models.tasks import ChatJob

if TYPE_CHECKING:
    import mlx.core as mx


class Choices:
    """Draws the tokens of one answer.

    mlx-vlm computes a step ahead, so everything here stays in MLX's lazy arrays, except where a form decides by the
    token before. Its own penalties look at the last 20 tokens and count the prompt's; these count what was written.
    """

    def __init__(
        self,
        job: ChatJob,
        ends: frozenset[int],
        vocabulary: Callable[[], Vocabulary],
        prompt: mx.array,
        size: int,
        room: int,
    ) -> None:
        """`prompt` are the ids [n] of what is read; the model scores `size` tokens, and may write `room`.

        Raises:
            InvalidInput: no answer can have the job's form, or `logit_bias` names tokens there are not.
        """
        import mlx.core as mx

        check_bias(job.logit_bias, size)
        self._job, self._ends = job, ends
        self._prompt = prompt
        form = form_of(job)
        self._grammar = None if form is None else Grammar(vocabulary(), form, room)
        seed = secrets.randbits(64) if job.seed is None else job.seed % 2**64
        self._key = mx.random.key(seed)
        self._counts: mx.array | None = None
        self._is_in_prompt: mx.array | None = None
        self._last: mx.array | None = None

    @property
    def are_plain(self) -> bool:
        """Whether the likeliest token is taken each time."""
        return self._job.is_greedy and self._grammar is None and self._job.leaves_scores

    @property
    def wants_logprobs(self) -> bool:
        """Whether the caller wants log-probabilities."""
        return self._job.top_logprobs is not None

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token [1], of the model's scores [1, vocabulary]."""
        import mlx.core as mx

        scores = logits.astype(mx.float32)
        if not self._job.leaves_scores:
            scores = self._adjusted(scores)
        if self._grammar is not None:
            scores = self._kept_to(self._grammar, scores)
        self._last = mx.argmax(scores, axis=-1) if self._job.is_greedy else self._drawn(scores)
        return self._last

    def _adjusted(self, scores: mx.array) -> mx.array:
        import mlx.core as mx

        job = self._job
        if self._counts is None or self._is_in_prompt is None or self._last is None:
            self._counts = mx.zeros_like(scores)
            self._is_in_prompt = mx.zeros(scores.shape, mx.bool_)
            self._is_in_prompt[0, self._prompt] = True
        else:
            self._counts = self._counts.at[0, self._last].add(1)
        if job.repetition_penalty != 1:
            penalised = mx.where(scores > 0, scores / job.repetition_penalty, scores * job.repetition_penalty)
            scores = mx.where(self._is_in_prompt | (self._counts > 0), penalised, scores)
        scores = scores - job.presence_penalty * (self._counts > 0) - job.frequency_penalty * self._counts
        if job.logit_bias:
            tokens, biases = mx.array(list(job.logit_bias)), mx.array(list(job.logit_bias.values()), mx.float32)
            scores = scores.at[0, tokens].add(biases)
        return scores

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
        from mlx_vlm.sample_utils import apply_min_p, apply_top_k, apply_top_p

        job = self._job
        scores = scores / job.temperature
        if job.top_k is not None and job.top_k < scores.shape[-1]:
            scores = apply_top_k(scores, job.top_k)
        if job.top_p < 1:
            scores = apply_top_p(scores - mx.logsumexp(scores, axis=-1, keepdims=True), max(job.top_p, 1e-9))
        if job.min_p > 0:
            scores = apply_min_p(scores - mx.logsumexp(scores, axis=-1, keepdims=True), job.min_p)
        self._key, key = mx.random.split(self._key)
        return mx.random.categorical(scores, key=key)
