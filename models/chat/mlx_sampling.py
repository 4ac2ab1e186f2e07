"""How the next token of an answer is chosen on MLX: penalties, a form to keep to, and a seed of the job's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.chat.grammar import Grammar
from models.tasks import ChatJob

if TYPE_CHECKING:
    import mlx.core as mx


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

    @property
    def are_plain(self) -> bool:
        """Whether the likeliest token is taken each time."""
        job = self._job
        return job.is_greedy and self._grammar is None and not (job.presence_penalty or job.frequency_penalty)

    @property
    def are_told(self) -> bool:
        """Whether the caller wants log-probabilities."""
        return self._job.top_logprobs is not None

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
