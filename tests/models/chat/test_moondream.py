"""moondream2's path: a tiny checkpoint with code of its own, called the way moondream2's class is.

The released code cannot be had here. This one has the same `auto_map`, names and `query`, and really runs a network.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from models.catalog import check_checkpoint, create_engine
from models.chat.engine import ChatEngine
from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidInput
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart
from tests.checkpoints.words import qwen_tokenizer

_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel


class HfConfig(PretrainedConfig):
    model_type = "moondream1"


class HfMoondream(PreTrainedModel):
    config_class = HfConfig

    def __init__(self, config):
        super().__init__(config)
        self.see = torch.nn.Linear(3, 26)
        self.post_init()

    def query(self, image=None, question=None, reasoning=False, stream=False, settings=None):
        settings = settings or {}
        mean = torch.tensor(image.resize((1, 1)).getpixel((0, 0)), dtype=torch.float32) / 255

        def words():
            for i in range(min(6, settings.get("max_tokens", 6))):
                scores = self.see(mean) + len(question) * i % 7
                if settings.get("temperature"):
                    letter = torch.multinomial((scores / settings["temperature"]).softmax(-1), 1).item()
                else:
                    letter = (scores.argmax().item() + i) % 26
                yield "abcdefghijklmnopqrstuvwxyz"[letter] + " "

        return {"answer": words() if stream else "".join(words())}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moondream")
    (folder / "hf_moondream.py").write_text(_CODE)
    qwen_tokenizer("{{ messages }}", ()).save_pretrained(folder)
    auto_map = {"AutoConfig": "hf_moondream.HfConfig", "AutoModelForCausalLM": "hf_moondream.HfMoondream"}
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["HfMoondream"], "auto_map": auto_map, "model_type": "moondream1"})
    )
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file({"see.weight": torch.randn(26, 3), "see.bias": torch.randn(26)}, folder / "model.safetensors")
    return folder


def entry(checkpoint: Path, **options: object) -> ModelEntry:
    values = {"engine": "moondream", "checkpoint": str(checkpoint), "device": "cpu", "options": options}
    return ModelEntry.model_validate(values)


@pytest.fixture(scope="module")
def moondream(checkpoint: Path) -> ChatEngine:
    engine = create_engine(entry(checkpoint, trust_remote_code=True))
    assert isinstance(engine, ChatEngine)
    engine.load()
    engine.warm_up()
    return engine


def picture(colour: str = "red") -> ImagePart:
    return ImagePart(encode(Image.new("RGB", (56, 56), colour)))


def asking(*parts: ImagePart | TextPart, **options: object) -> ChatJob:
    return ChatJob((Message("user", parts),), **options)  # type: ignore[arg-type]


def deltas(engine: ChatEngine, job: ChatJob) -> list[ChatDelta]:
    return list(engine.stream(job, lambda: False))


def text(engine: ChatEngine, job: ChatJob) -> str:
    return "".join(delta.text for delta in deltas(engine, job))


def test_its_code_is_not_run_unless_the_configuration_allows_it(checkpoint: Path) -> None:
    for refused in (entry(checkpoint), entry(checkpoint, trust_remote_code=False)):
        with pytest.raises(CheckpointError, match="trust_remote_code: true"):
            check_checkpoint(refused)
        with pytest.raises(CheckpointError, match="trust_remote_code: true"):
            create_engine(refused).load()
    check_checkpoint(entry(checkpoint, trust_remote_code=True))


def test_another_model_is_refused_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="is a llama model"):
        check_checkpoint(entry(tmp_path, trust_remote_code=True))


def test_the_answer_comes_in_pieces_with_its_usage(moondream: ChatEngine) -> None:
    *pieces, last = deltas(moondream, asking(picture(), TextPart("What is this?")))
    assert len(pieces) == 6
    assert last.finish_reason == "stop"
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.image_tokens) == (6, 729)
    assert last.usage.prompt_tokens > 729
    assert moondream.footprint == (26 * 3 + 26) * 4


def test_picture_and_question_both_count(moondream: ChatEngine) -> None:
    first = text(moondream, asking(picture(), TextPart("What?")))
    assert text(moondream, asking(TextPart("What?"), picture())) == first
    assert text(moondream, asking(picture("white"), TextPart("What?"))) != first


def test_max_tokens_stop_and_seed_are_kept_to(moondream: ChatEngine) -> None:
    whole = text(moondream, asking(picture(), TextPart("a")))
    last = deltas(moondream, asking(picture(), TextPart("a"), max_tokens=2))[-1]
    assert last.finish_reason == "length"
    stop = whole.split()[2]
    assert text(moondream, asking(picture(), TextPart("a"), stop=(stop,))) == whole[: whole.index(stop)]
    drawn = [text(moondream, asking(picture(), TextPart("a"), temperature=2.0, seed=seed)) for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_who_leaves_ends_the_answer(moondream: ChatEngine) -> None:
    assert list(moondream.stream(asking(picture(), TextPart("a")), lambda: True)) == []


@pytest.mark.parametrize(
    ("job", "param"),
    [
        (asking(TextPart("hello")), "messages"),
        (asking(picture(), picture(), TextPart("hello")), "messages"),
        (asking(picture(), form={"type": "object"}), "response_format"),
        (asking(picture(), top_logprobs=0), "logprobs"),
        (asking(picture(), presence_penalty=1.0), "presence_penalty"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(moondream: ChatEngine, job: ChatJob, param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        moondream.stream(job, lambda: False)
    assert refused.value.param == param
