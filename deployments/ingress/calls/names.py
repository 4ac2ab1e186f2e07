"""The names that models answer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.request_context import note_model
from models.entry import ModelEntry
from models.kinds import Kind
from settings import Omni, Settings

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
        self.omni: Mapping[str, Omni] = {
            alias: omni.model_copy(
                update={
                    name: getattr(omni, name) if getattr(omni, name) in there else None for name in ("image", "voice")
                }
            )
            for alias, omni in settings.omni.items()
            if omni.chat in there
        }
        """The aliases made of deployed models, without those parts that are not."""

    def find_omni(self, name: str) -> Omni | None:
        """What a name stands for that leads to an alias made of others; None where it leads to a model."""
        found = self._found(name, ("vlm",))
        return None if found is None else self.omni.get(found)

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
        Of several that patterns lead to, the first of one of `kinds`: `gpt-*` may stand before `gpt-image-*`. An alias
        made of others stands for its part of one of `kinds`, else for its chat model.
        """
        found = self._found(name, kinds)
        if found is None or found not in self.omni:
            return found
        parts = self.omni[found].parts
        return next((parts[kind] for kind in kinds if kind in parts), self.omni[found].chat)

    def _found(self, name: str, kinds: Iterable[Kind]) -> str | None:
        """The alias of a model, or one made of others."""
        if any(fnmatchcase(_bare(name), pattern) for pattern in _NOT_SERVED) and not self._is_ours(name):
            return None
        bare = name.rpartition("/")[2]
        spellings = (name, name.partition(":")[0], bare, bare.partition(":")[0])
        return next((alias for each in spellings if (alias := self._named(each, kinds)) is not None), None)

    def _is_ours(self, name: str) -> bool:
        """Whether the configuration has the name itself, not only a pattern that fits it as well."""
        return name in self.entries or name in self.omni or name in self._settings.routes

    def _named(self, name: str, kinds: Iterable[Kind]) -> str | None:
        entries, omni = self.entries, self.omni
        if name in entries or name in omni:
            return name

        def kinds_of(alias: str) -> set[Kind]:
            return set(omni[alias].parts) if alias in omni else {entries[alias].kind}

        named = [alias for pattern, alias in self._settings.routes.items() if fnmatchcase(name, pattern)]
        named += [alias for alias, entry in entries.items() if entry.checkpoint == name]
        deployed = [alias for alias in named if alias in entries or alias in omni]
        fitting = (alias for alias in deployed if kinds_of(alias) & set(kinds))
        return next(fitting, deployed[0] if deployed else None)

    def _of_kind(self, kinds: Iterable[Kind]) -> list[str]:
        wanted = set(kinds)
        made = [alias for alias, omni in self.omni.items() if wanted & set(omni.parts)]
        return [*made, *(alias for alias, entry in self.entries.items() if entry.kind in wanted)]


def _bare(name: str) -> str:
    """A name without a provider's prefix and without a tag."""
    return name.rpartition("/")[2].partition(":")[0]
