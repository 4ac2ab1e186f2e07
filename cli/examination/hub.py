"""The Hugging Face hub: whether it answers, this machine's clock against its own, and licences of checkpoints."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

import settings
from cli.environment import as_typed
from cli.examination.finding import Finding
from cli.pull import wanted_sources

_SECONDS: Final = 10.0
_SKEW: Final = 60.0
"""Seconds from which on signed addresses (S3, the hub's own) begin to be refused, or logs mislead."""


def access(configured: settings.Settings, _: Path) -> list[Finding]:
    """Whether the hub answers; that it does not is a problem only where a checkpoint of it is configured."""
    from huggingface_hub import constants, get_token

    sources = wanted_sources(configured)
    if constants.HF_HUB_OFFLINE:
        what = "is not asked: HF_HUB_OFFLINE is set"
        if not sources:
            return [Finding("ok", "hub", what)]
        return [Finding("warning", "hub", what, "unset HF_HUB_OFFLINE, unless all checkpoints are on disk")]
    begun = time.time()
    try:
        answer = httpx.head(constants.ENDPOINT, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = f"{constants.ENDPOINT} does not answer: {str(error) or type(error).__name__}"
        mend = "set HTTPS_PROXY or HF_ENDPOINT (a mirror); HF_HUB_OFFLINE=1 where all is on disk"
        return [Finding("problem" if sources else "warning", "hub", what, mend)]
    found = [Finding("ok", "hub", f"{constants.ENDPOINT} answers"), *_clock(answer, (begun + time.time()) / 2)]
    token = get_token()
    for source, aliases in sources.items():
        found += _licence(constants.ENDPOINT, source.name, source.revision, ", ".join(aliases), token)
    return found


def _clock(answer: httpx.Response, now: float) -> list[Finding]:
    """Against the Date that the hub sends, whose grain is a second."""
    try:
        skew = now - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return []
    if abs(skew) < _SKEW:
        return [Finding("ok", "clock", "agrees with the hub's")]
    what = f"is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the hub's"
    return [Finding("warning", "clock", what, "sudo timedatectl set-ntp true")]


def _licence(endpoint: str, name: str, revision: str | None, aliases: str, token: str | None) -> list[Finding]:
    """Whether the account may download a checkpoint."""
    from huggingface_hub import HfApi, errors

    try:
        HfApi(endpoint=endpoint).auth_check(name, token=token)
        HfApi(endpoint=endpoint).model_info(name, revision=revision, timeout=_SECONDS)
    except errors.GatedRepoError:
        what = f"{aliases}: the licence of {name} is not accepted by this account"
        return [
            Finding("problem", "licence", what, f"accept it at {endpoint}/{name}, then: {as_typed('hf')} auth login")
        ]
    except errors.RepositoryNotFoundError:
        what = f"{aliases}: there is no {endpoint}/{name}, or it is private"
        return [Finding("problem", "checkpoint", what, f"correct models.….checkpoint, or: {as_typed('hf')} auth login")]
    except (errors.HfHubHTTPError, httpx.HTTPError) as error:
        what = f"{aliases}: {name} could not be looked at: {next(iter(str(error).splitlines()), '')}"
        return [Finding("warning", "checkpoint", what, f"{as_typed('atelier')} pull {aliases.partition(',')[0]}")]
    return [Finding("ok", "checkpoint", f"{aliases}: {name} may be downloaded")]
