"""The names that models answer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.request_context import note_model
from models.entry import ModelEntry
from models.kinds import Kind
from settings import Settings

_NOT_SERVED: Final = {
    "gpt-realtime*": "conversations in sound",
    "gpt-live*": "conversations in sound",
    "gpt-audio*": "answers in sound",
    "gpt-4o-audio*": "answers in sound",
    "gpt-4o-realtime*": "conversations in sound",
    "sora-*": "films",
}
"""OpenAI's models of kinds that are not here; `gpt-*` would lead them to a chat model."""


class ModelNames:
    """The deployed models by their aliases, by the patterns of the configuration, and by their checkpoints' names."""

    def __init__(self, settings: Settings, deployed: Iterable[str]) -> None:
        self._settings = settings
        there = set(deployed)
        self.entries: Mapping[str, ModelEntry] = {
            alias: entry for alias, entry in settings.models.items() if alias in there
        }
        """The models that are deployed, by alias."""

    def resolve(self, name: str | None, kinds: Iterable[Kind]) -> str:
        """The alias that answers to a model name: an alias, a pattern's target, or a checkpoint's own name.

        Raises:
            ApiError: 404 `model_not_found`, 400 when the model is of another kind, 404 when no such model is deployed.
        """
        kinds = tuple(kinds)
        if name is None:
            alias = self.default(kinds)
            if alias is None:
                raise ApiError(404, f"no model of kind {' or '.join(kinds)} is configured", code="model_not_found")
            note_model(alias)
            return alias
        alias = self.find(name, kinds)
        if alias is None:
            missing = next((what for pattern, what in _NOT_SERVED.items() if fnmatchcase(_bare(name), pattern)), None)
            if missing is not None:
                message = f"the model {name!r} does not exist: this server makes no {missing}"
                raise ApiError(404, message, code="model_not_found", param="model")
            raise ApiError(
                404,
                f"the model {name!r} does not exist; there are: {', '.join(self._of_kind(kinds))}",
                code="model_not_found",
                param="model",
            )
        kind = self.entries[alias].kind
        if kind not in kinds:
            raise invalid(
                "model",
                f"the model {name!r} is of kind {kind}; this route takes: {', '.join(self._of_kind(kinds)) or 'none'}",
            )
        note_model(alias)
        return alias

    def default(self, kinds: Iterable[Kind]) -> str | None:
        """The deployed alias of one of the kinds that answers when none is named, None where there is none."""
        return next((a for kind in kinds if (a := self._settings.default_for(kind)) in self.entries), None)

    def find(self, name: str, kinds: Iterable[Kind] = ()) -> str | None:
        """The deployed alias behind a name, None when there is none.

        A provider's prefix and a tag (`openai/NAME`, `NAME:latest`) are taken off where nothing has the whole name.
        Of several that patterns lead to, the first of one of `kinds`: `gpt-*` may stand before `gpt-image-*`.
        """
        if any(fnmatchcase(_bare(name), pattern) for pattern in _NOT_SERVED) and not self._is_ours(name):
            return None
        bare = name.rpartition("/")[2]
        spellings = (name, name.partition(":")[0], bare, bare.partition(":")[0])
        return next((alias for each in spellings if (alias := self._named(each, kinds)) is not None), None)

    def _is_ours(self, name: str) -> bool:
        """Whether the configuration has the name itself, not only a pattern that fits it as well."""
        return name in self.entries or name in self._settings.routes

    def _named(self, name: str, kinds: Iterable[Kind]) -> str | None:
        if name in self.entries:
            return name
        entries = self.entries
        named = [alias for pattern, alias in self._settings.routes.items() if fnmatchcase(name, pattern)]
        named += [alias for alias, entry in entries.items() if entry.checkpoint == name]
        deployed = [alias for alias in named if alias in entries]
        fitting = (alias for alias in deployed if entries[alias].kind in kinds)
        return next(fitting, deployed[0] if deployed else None)

    def _of_kind(self, kinds: Iterable[Kind]) -> list[str]:
        wanted = set(kinds)
        return [alias for alias, entry in self.entries.items() if entry.kind in wanted]


def _bare(name: str) -> str:
    """A name without a provider's prefix and without a tag."""
    return name.rpartition("/")[2].partition(":")[0]
