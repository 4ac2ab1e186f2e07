"""Two chat models side by side: each answers what it knows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from models.catalog import check_checkpoint, create_engine, hub_sources, takes_tools
from models.chat.call_head import CHECKPOINT as CALL_HEAD
from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.engines.vlm_mixture import VlmMixtureEngine
from models.checkpoints import local_folder
from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidImage, InvalidInput
from models.tasks import ChatJob, ImagePart, Tool
from tests.models.chat.conversations import _COUNTED, answer, assistant, chat, deltas, picture, user
from tests.models.conftest import Shelf, entry_of, loaded, together, with_options

BLACK, RED, WHITE = picture("black"), picture("red"), picture("white")
EDIT = Tool(
    "edit_image", None, {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
)
OF_SHAPES = [
    chat(user(BLACK, "hello"), top_logprobs=2),
    chat(user(BLACK, "hello"), assistant("a"), user("colour?", BLACK), temperature=1.0, seed=4),
    chat(user(BLACK, "how many?"), form=_COUNTED, max_tokens=200),
    chat(user(BLACK, "hello"), frequency_penalty=2.0, max_tokens=30),
]
OTHERS = [
    chat(user("hello")),
    chat(user(RED, "hello"), top_logprobs=2),
    chat(user(BLACK, WHITE, "hello")),
    chat(user(WHITE, "hello"), assistant("a"), user("colour?"), temperature=1.0, seed=4),
    chat(user(RED, "how many?"), form=_COUNTED, max_tokens=200),
]


@pytest.fixture(scope="module")
def entry(describer: Path, shelf: Shelf) -> ModelEntry:
    return with_options(entry_of("vlm_mixture", describer), shapes=shelf("qwen2_5_vl").checkpoint)


@pytest.fixture(scope="module")
def mixture(entry: ModelEntry) -> VlmMixtureEngine:
    engine: VlmMixtureEngine = loaded(entry)
    return engine


@contextmanager
def looks(mixture: VlmMixtureEngine) -> Iterator[list[int]]:
    """How often the describer's eyes, or its gate, look at something."""
    seen: list[int] = []
    hook = mixture._model.model.visual.trunk.conv_stem.register_forward_hook(lambda *_: seen.append(1))
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("job", OF_SHAPES)
def test_what_is_about_shapes_is_answered_as_by_the_engine_vlm(
    mixture: VlmMixtureEngine, qwen: TransformersVlmEngine, job: ChatJob
) -> None:
    assert deltas(mixture, job) == deltas(qwen, job)


@pytest.mark.parametrize("job", OTHERS)
def test_one_picture_of_something_else_gives_a_conversation_to_the_describer(
    mixture: VlmMixtureEngine, job: ChatJob
) -> None:
    usage = deltas(mixture, job)[-1].usage
    assert usage is not None
    count = sum(isinstance(part, ImagePart) for message in job.messages for part in message.parts)
    assert usage.image_tokens == count * 16, "it is told sixteen things of each picture"


def test_jobs_together_are_answered_as_alone_each_by_its_model(
    mixture: VlmMixtureEngine, qwen: TransformersVlmEngine
) -> None:
    jobs = [job for pair in zip(OF_SHAPES, OTHERS, strict=False) for job in pair]
    answers = together(mixture, *jobs)
    assert answers == [answer(mixture, job) for job in jobs]
    assert answers[::2] == [answer(qwen, job) for job in jobs[::2]]
    assert len(set(answers)) > len(jobs) // 2


def test_a_fault_of_one_job_is_its_own(mixture: VlmMixtureEngine) -> None:
    damaged = user(BLACK, ImagePart(b"no picture"))
    first, image, other, form, last = together(
        mixture,
        chat(user("hello")),
        chat(damaged),
        chat(user(RED, ImagePart(b"no picture"))),
        chat(user(RED), form={"type": "nonsense"}),
        chat(user(RED, "hello")),
    )
    assert (first, last) == (answer(mixture, chat(user("hello"))), answer(mixture, chat(user(RED, "hello"))))
    assert isinstance(image, InvalidImage)
    assert isinstance(other, InvalidImage)
    assert (image.param, other.param) == ("messages[0].content[1]", "messages[0].content[1]")
    assert isinstance(form, InvalidInput)


def test_who_leaves_gets_nothing_more_and_the_others_go_on(mixture: VlmMixtureEngine) -> None:
    jobs = [chat(user(RED, "hello"), max_tokens=1000), chat(user(WHITE, "hello")), chat(user("hello"))]
    assert together(mixture, *jobs, cancelled=0)[1:] == [answer(mixture, job) for job in jobs[1:]]


def test_what_is_too_much_at_once_is_answered_one_by_one(
    mixture: VlmMixtureEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, widths = mixture._model, []

    def generate(**inputs: Any) -> Any:
        widths.append(len(inputs["input_ids"]))
        if widths[-1] > 1:
            raise torch.OutOfMemoryError
        return type(model).generate(model, **inputs)

    monkeypatch.setattr(model, "generate", generate)
    answers = together(mixture, *OTHERS[1:3])
    assert widths == [2, 1, 1]
    monkeypatch.undo()
    assert answers == [answer(mixture, job) for job in OTHERS[1:3]]


def test_a_gate_without_memory_has_what_was_read_from_pictures_forgotten(mixture: VlmMixtureEngine) -> None:
    answer(mixture, chat(user(RED, "hello")))
    fresh, failed = chat(user(picture("#f00002"), "hello")), []

    def run_out(*_: object) -> None:
        if mixture._features.nbytes:
            failed.append(True)
            raise torch.OutOfMemoryError

    hook = mixture._model.model.visual.trunk.conv_stem.register_forward_pre_hook(run_out)
    try:
        assert mixture._is_of_shapes(fresh) is False
    finally:
        hook.remove()
    assert failed == [True]


def test_an_answer_of_the_describer_keeps_to_its_schema(mixture: VlmMixtureEngine) -> None:
    assert json.loads(answer(mixture, OTHERS[4])).keys() == {"shape", "count"}
    assert answer(mixture, chat(user(WHITE, "?"), form=("yes", "no"))) in {"yes", "no"}


def test_closing_the_answer_early_stops_the_describer(mixture: VlmMixtureEngine) -> None:
    pieces = mixture.stream(chat(user(RED, "hello"), max_tokens=1000), lambda: False)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert answer(mixture, chat(user(RED, "hello")))


def test_later_turns_do_not_look_at_a_picture_again(mixture: VlmMixtureEngine, entry: ModelEntry) -> None:
    fresh = picture("#f00001")
    turns = [chat(user(fresh, "hello")), chat(user(fresh, "hello"), assistant("a"), user("colour?"))]
    with looks(mixture) as seen:
        answer(mixture, turns[0])
        assert len(seen) == 4, "of which kind it is, for the gate and for its eyes, what is on it, and its letters"
        answer(mixture, turns[1])
        assert len(seen) == 4
        mixture._features.forget()
        answer(mixture, turns[1])
        assert len(seen) == 7, "the gate still knows its kind"
        shapes = picture("#000001")
        for _ in range(2):
            answer(mixture, chat(user(shapes, "hello")))
        assert len(seen) == 8


def test_a_transparent_picture_is_seen_on_white(mixture: VlmMixtureEngine) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (56, 56), (0, 0, 0, 0)).save(file, "PNG")
    clear = ImagePart(file.getvalue())
    assert answer(mixture, chat(user(clear, "hello"))) == answer(mixture, chat(user(WHITE, "hello")))


@pytest.mark.parametrize("shown", [RED, BLACK])
def test_the_call_head_decides_which_tool_is_called_whatever_is_shown(
    mixture: VlmMixtureEngine, shown: ImagePart
) -> None:
    assert local_folder(CALL_HEAD)
    pieces = deltas(mixture, chat(user(shown, "make it blue"), tools=(EDIT,), max_tokens=200))
    called = [call for piece in pieces for call in piece.calls]
    assert next(call.name for call in called if call.name) == "edit_image"
    assert "blue" in json.loads("".join(call.arguments for call in called))["prompt"]
    assert pieces[-1].finish_reason == "tool_calls"


def test_it_takes_tools_only_where_both_templates_do(entry: ModelEntry, describer: Path, tmp_path: Path) -> None:
    assert not takes_tools(entry)
    for name in ("describer", "shapes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chat_template.jinja").write_text("{{ tools }}")
    telling = entry.model_copy(update={"checkpoint": str(tmp_path / "describer")})
    assert not takes_tools(telling)
    assert takes_tools(with_options(telling, shapes=str(tmp_path / "shapes")))


def test_both_models_come_and_go_together_and_write_nothing(
    entry: ModelEntry, qwen: TransformersVlmEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = create_engine(entry)
    assert isinstance(engine, VlmMixtureEngine)
    capfd.readouterr()
    for _ in range(2):
        engine.load()
        engine.warm_up()
        assert engine.footprint > qwen.footprint + 4 * 4_600_000, "the trunk has 4.6 million weights"
        assert answer(engine, OTHERS[1])
        engine.unload()
        assert engine.footprint == 0
    assert capfd.readouterr() == ("", "")


def test_it_works_in_bfloat16(entry: ModelEntry) -> None:
    engine = loaded(entry.model_copy(update={"dtype": "bfloat16"}))
    assert all(isinstance(each, str) for each in together(engine, *OF_SHAPES, *OTHERS))


def test_what_is_no_describer_is_refused_before_the_start_with_what_to_write(
    entry: ModelEntry, shelf: Shelf, describer: Path, tmp_path: Path
) -> None:
    check_checkpoint(entry)
    assert hub_sources(entry) == []
    for checkpoint, wrong in (
        (shelf("qwen2_5_vl").checkpoint, r"is a qwen2_5_vl model, no atelier_describer: write `engine: vlm`"),
        ("Qwen/Qwen2.5-VL-3B-Instruct", r"is a folder, not 'Qwen/.*; for one of the hub write `engine: vlm`"),
        (str(tmp_path), r"has no config\.json"),
    ):
        with pytest.raises(CheckpointError, match=wrong):
            check_checkpoint(entry.model_copy(update={"checkpoint": checkpoint}))
    (tmp_path / "config.json").write_text('{"model_type": "atelier_describer"}')
    with pytest.raises(CheckpointError, match=r"has no reader\.safetensors: .* write `engine: vlm`"):
        check_checkpoint(entry.model_copy(update={"checkpoint": str(tmp_path)}))
    for shapes, wrong in (
        (shelf("blip").checkpoint, r"options\.shapes: .* is a blip model, which cannot answer messages"),
        (str(describer), r"options\.shapes: .* the engine 'vlm_mixture' loads it"),
    ):
        with pytest.raises(CheckpointError, match=wrong):
            check_checkpoint(with_options(entry, shapes=shapes))
    with pytest.raises(CheckpointError, match="the engine 'vlm_mixture' loads it"):
        check_checkpoint(entry_of("vlm", describer))
