"""What is said in the recording of a voice, where its maker has not written it down."""

from __future__ import annotations

import logging
from contextlib import aclosing

from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import ApiError
from deployments.ingress.services.transcripts import gathered
from models.catalog import engine_class, languages
from models.speech.engine import SpeechEngine
from models.tasks import TranscriptionJob

logger = logging.getLogger("ray.serve")

MAX_CHARACTERS = 2000


class Listener:
    """The default model that writes speech down, asked on behalf of voices."""

    def __init__(self, models: ModelCalls) -> None:
        self._models = models

    async def words_of(self, recording: bytes, language: str) -> str | None:
        """What is said in a recording of a language (BCP 47), where that makes a voice better.

        None where no voice here has a use for it, where no model knows the language, and where it fails: a voice
        speaks without. Words of another language than the model's would be wrong, which is worse than none.
        """
        alias = self._models.names.default(["asr"])
        spoken = language.replace("_", "-").split("-")[0].lower()
        if alias is None or not self._are_words_used:
            return None
        known = languages(self._models.entries[alias])
        if known and spoken not in known:
            return None
        try:
            async with aclosing(self._models.transcripts(alias).stream(TranscriptionJob(recording, spoken))) as pieces:
                text = (await gathered(pieces)).text
        except ApiError as error:
            logger.warning("what is said in the recording of a voice could not be written down: %s", error)
            return None
        return text[:MAX_CHARACTERS] or None

    @property
    def _are_words_used(self) -> bool:
        voices = [engine_class(entry.engine) for entry in self._models.entries.values() if entry.kind == "voice"]
        return any(issubclass(each, SpeechEngine) and each.uses_words for each in voices)
