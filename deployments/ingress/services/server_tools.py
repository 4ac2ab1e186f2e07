"""The tools that this server runs for a chat: drawing, changing a picture, speaking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from deployments.imaging import FinishedImage, Output
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import invalid
from deployments.ingress.requests.pictures import Picture, read_bytes
from deployments.ingress.schemas.images import MAX_PROMPT, Generation
from deployments.ingress.schemas.speech import MAX_CHARACTERS
from deployments.ingress.services.image_jobs import follow, image_job, size_like
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.tool_loop import DrawnPicture, Made, ServerTool, SpokenText, ToolBegun, ToolProgress
from models.catalog import refuse_impossible
from models.errors import InvalidInput
from models.speech.audio_writing import AudioFormat
from models.tasks import ImageJob, SpeechJob, Tool, ToolCall
from settings import Settings

GENERATE: Final = "generate_image"
EDIT: Final = "edit_image"
SPEAK: Final = "speak"
MARK: Final = "AI-generated speech"
OLD_PICTURE: Final = "Done. The user has seen the picture."
"""What a chat model reads of a picture that was drawn and that it does not see any more."""
_NO_EDITS: Final = (
    "Pictures that are there already cannot be changed here: if the user wants that, say so, or draw a new one."
)


@dataclass(frozen=True)
class Mask:
    """What of one picture of the conversation may change: where alpha is 0."""

    picture: Picture
    of: bytes


@dataclass(frozen=True)
class Drawing:
    """How the pictures of one request are made.

    `pictures` are those of the conversation, oldest first, as encoded bytes: the ones that can be changed. What is
    drawn is added to them. `wishes` are fields of `POST /v1/images/generations` that the caller has set beside the
    prompt.
    """

    request: Request
    models: ModelCalls
    jobs: Jobs
    settings: Settings
    alias: str
    pictures: list[bytes] = field(default_factory=list)
    output: Output = field(default_factory=Output)
    wishes: Mapping[str, Any] = field(default_factory=dict)
    mask: Mask | None = None

    @property
    def edits(self) -> bool:
        """Whether the picture model can change pictures."""
        entry = self.models.entries[self.alias]
        usual = entry.image
        job = ImageJob("", usual.width, usual.height, usual.steps, usual.guidance, seed=0, images=(b"",))
        try:
            refuse_impossible(entry, job)
        except InvalidInput:
            return False
        return True

    def check(self) -> None:
        """Raises ApiError and InvalidInput, naming the field, for wishes that no prompt could make possible."""
        entry = self.models.entries[self.alias]
        params = Generation.model_validate({**self.wishes, "prompt": "a"})
        image_job(params, entry, (entry.image.width, entry.image.height), "a")

    async def make(
        self, call: ToolCall, prompt: str, images: Sequence[bytes] = ()
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        """One picture, drawn or made of `images`, as a job of the request.

        Raises:
            ApiError: 400 `prompt` where it is too long, and what `image_jobs.make` raises.
            InvalidInput: the model cannot do that, such as read several pictures.
        """
        if len(prompt) > MAX_PROMPT:
            raise invalid("prompt", f"prompt: {len(prompt)} characters; at most {MAX_PROMPT} are read")
        params = Generation.model_validate({**self.wishes, "prompt": prompt})
        entry = self.models.entries[self.alias]
        read = [await read_bytes(image, self.settings, "image") for image in images]
        size = size_like(read[0]) if read else (entry.image.width, entry.image.height)
        is_masked = self.mask is not None and bool(images) and images[0] is self.mask.of
        job = image_job(params, entry, size, prompt, read, self.mask.picture if self.mask and is_masked else None)
        yield ToolBegun(call, prompt, "picture")
        async with (
            self.jobs.working(self.request, self.alias) as work,
            aclosing(follow(self.models, work, job, self.output)) as pieces,
        ):
            async for piece in pieces:
                if isinstance(piece, FinishedImage):
                    self.pictures.append(piece.data)
                    yield DrawnPicture(call, piece.data, self.output.format, job)
                else:
                    yield ToolProgress(call, piece)


@dataclass(frozen=True)
class GenerateImage:
    """Draws a picture."""

    drawing: Drawing

    @property
    def tool(self) -> Tool:
        """As the model sees it."""
        prompt = {"type": "string", "description": "what the picture shows, in the user's language"}
        told = (
            "Draw a new picture and show it to the user. Call it when the user wants a picture, drawing or photo made."
        )
        return Tool(
            GENERATE,
            told if self.drawing.edits else f"{told} {_NO_EDITS}",
            _object({"prompt": prompt}, "prompt"),
        )

    def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        """Draw it."""
        return self.drawing.make(call, arguments["prompt"])

    def report(self, made: Made) -> str:
        """What the chat model reads of it."""
        assert isinstance(made, DrawnPicture)
        return shown_picture(len(self.drawing.pictures), made.job)


@dataclass(frozen=True)
class EditImage:
    """Changes a picture of the conversation."""

    drawing: Drawing

    @property
    def tool(self) -> Tool:
        """As the model sees it."""
        count = len(self.drawing.pictures)
        properties = {
            "prompt": {
                "type": "string",
                "description": "the change to make, as an instruction, in the user's language",
            },
            "picture": {
                "type": "integer",
                "minimum": 1,
                "description": f"which picture, counted from 1, the oldest; there are {count} so far. "
                "Left out: the newest",
            },
        }
        return Tool(
            EDIT,
            "Change a picture of this conversation and show the result to the user. Call it when the user wants "
            "something about a picture to be different.",
            _object(properties, "prompt"),
        )

    async def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        """Change it. Raises ApiError 400 where there is no such picture."""
        count = len(self.drawing.pictures)
        number = arguments.get("picture", count)
        if not 1 <= number <= count:
            there = f"there are {count}" if count else "there is none in this conversation"
            raise invalid("picture", f"there is no picture {number}; {there}")
        chosen = [self.drawing.pictures[number - 1]]
        async with aclosing(self.drawing.make(call, arguments["prompt"], chosen)) as events:
            async for event in events:
                yield event

    def report(self, made: Made) -> str:
        """What the chat model reads of it."""
        assert isinstance(made, DrawnPicture)
        return shown_picture(len(self.drawing.pictures), made.job)


@dataclass(frozen=True)
class Speak:
    """Reads a text aloud, by the voice that a model has by default."""

    request: Request
    models: ModelCalls
    jobs: Jobs
    alias: str
    is_marked: bool
    format: AudioFormat = "mp3"

    @property
    def tool(self) -> Tool:
        """As the model sees it."""
        text = {"type": "string", "description": "the words to speak, exactly"}
        return Tool(
            SPEAK,
            "Speak a text aloud and give the user the recording. Call it when the user wants to hear something.",
            _object({"text": text}, "text"),
        )

    async def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        """Speak it, as a job of the request. Raises ApiError 400 for a text that is too long."""
        text = arguments["text"]
        if len(text) > MAX_CHARACTERS:
            raise invalid("text", f"text: {len(text)} characters; at most {MAX_CHARACTERS} are spoken at once")
        yield ToolBegun(call, text, "speech")
        mark = MARK if self.is_marked else None
        async with self.jobs.working(self.request, self.alias) as work:
            voice = self.models.voices(self.alias)
            job = SpeechJob(text, is_literal=True)
            spoken = await work.unless_cancelled(lambda: voice.speak(job, self.format, mark))
        yield SpokenText(call, spoken.data, self.format, text, spoken.seconds)

    def report(self, made: Made) -> str:
        """What the chat model reads of it."""
        assert isinstance(made, SpokenText)
        return f"Spoken; the user has the recording of {made.seconds:.1f} seconds."


def picture_tools(drawing: Drawing) -> list[ServerTool]:
    """The tools for pictures that a picture model has the abilities for."""
    tools: list[ServerTool] = [GenerateImage(drawing)]
    return [*tools, EditImage(drawing)] if drawing.edits else tools


def shown_picture(number: int, job: ImageJob | None = None) -> str:
    """What a chat model reads of a picture that was drawn, counted from 1 in the conversation."""
    size = "" if job is None else f", {job.width}x{job.height} pixels"
    return f"Done: picture {number}{size}. The user sees it already."


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
