"""How the next token of an answer is chosen: penalties, a form to keep to, and a seed of the job's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from models.chat.grammar import Grammar, form_of
from models.chat.vocabulary import Vocabulary
from models.errors import InvalidInput
from models.tasks import ChatJob, TokenLogprob

if TYPE_CHECKING:
    import torch

Processor = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""From the tokens so far [1, n] and the scores of the next [1, vocabulary] to other scores: transformers' protocol."""


class Choices:
    """The processors of one answer, and what they saw.

    `prompt` are the ids [n] of what is read, without padding; the model scores `size` tokens, and may write `room`.
    """

    def __init__(
        self, job: ChatJob, vocabulary: Callable[[], Vocabulary], prompt: torch.Tensor, size: int, room: int
    ) -> None:
        """Raises InvalidInput when no answer can have the job's form, or `logit_bias` names tokens there are not."""
        check_bias(job.logit_bias, size)
        self._job = job
        self._prompt = prompt
        self._read = self._followed = 0
        self._scores: torch.Tensor | None = None
        self._vocabulary = vocabulary
        form = form_of(job)
        self._grammar = None if form is None else Grammar(vocabulary(), form, room)

    def processors(self, read: int) -> list[Processor]:
        """In the order in which they act, after a prompt of `read` tokens; none for a plain greedy answer."""
        job = self._job
        self._read = self._followed = read
        chosen: list[Processor] = []
        if job.top_logprobs is not None:
            chosen.append(self._remember)
        if not job.leaves_scores:
            chosen.append(self._adjust)
        if self._grammar is not None:
            chosen.append(self._keep_to_form)
        if not job.is_greedy:
            chosen.append(sampler(job))
        return chosen

    def logprob(self, token: int) -> TokenLogprob | None:
        """What the model itself gave the token that was chosen last, before these processors; None if nobody asked."""
        if self._scores is None:
            return None
        logprobs = self._scores.log_softmax(-1)
        values, tokens = logprobs.topk(min(self._job.top_logprobs or 0, logprobs.shape[-1]))
        vocabulary = self._vocabulary()
        top = tuple(vocabulary.spelled(t, v) for t, v in zip(tokens.tolist(), values.tolist(), strict=True))
        return vocabulary.spelled(token, float(logprobs[token]), top)

    def _remember(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._scores = scores[0].float().cpu().clone()
        return scores

    def _adjust(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch
        from transformers import RepetitionPenaltyLogitsProcessor

        job, written = self._job, ids[0, self._read :]
        scores = scores.clone()
        if job.repetition_penalty != 1:
            occurring = torch.cat([self._prompt.to(ids.device), written])[None]
            scores = RepetitionPenaltyLogitsProcessor(float(job.repetition_penalty))(occurring, scores)
        if job.presence_penalty or job.frequency_penalty:
            tokens, counts = torch.unique(written, return_counts=True)
            scores[0, tokens] -= (job.presence_penalty + job.frequency_penalty * counts).to(scores.dtype)
        for token, bias in job.logit_bias.items():
            scores[0, token] += bias
        return scores

    def _keep_to_form(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        assert self._grammar is not None
        for token in ids[0, self._followed :].tolist():
            self._grammar.accept(token)
        self._followed = ids.shape[1]
        allowed = torch.from_numpy(self._grammar.allowed()[: scores.shape[-1]]).to(scores.device)
        return scores.masked_fill(~allowed, -torch.inf)


def check_bias(logit_bias: Mapping[int, float], size: int) -> None:
    """Refuse tokens that a model with `size` of them does not have.

    Raises:
        InvalidInput: naming `logit_bias`.
    """
    for token in logit_bias:
        if not 0 <= token < size:
            raise InvalidInput(f"logit_bias: there is no token {token}; this model has 0 to {size - 1}", "logit_bias")


def sampler(job: ChatJob) -> Processor:
    """Draws the next token with a generator of the job's own and leaves it as the only possible one.

    transformers samples from the global generator, which other work in the process moves on: with this, the greedy
    search picks what the job's seed says.
    """
    import torch
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    generator = torch.Generator("cpu")
    if job.seed is None:
        generator.seed()
    else:
        generator.manual_seed(job.seed)
    warpers: list[Processor] = [TemperatureLogitsWarper(job.temperature)]
    if job.top_k is not None:
        warpers.append(TopKLogitsWarper(job.top_k))
    if job.top_p < 1:
        warpers.append(TopPLogitsWarper(job.top_p))
    if job.min_p > 0:
        warpers.append(MinPLogitsWarper(job.min_p))

    def sample(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float()
        for warp in warpers:
            scores = warp(ids, scores)
        chosen = torch.multinomial(scores.softmax(-1).cpu(), 1, generator=generator).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    return sample
