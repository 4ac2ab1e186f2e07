"""A checkpoint that sets everything it can in its generation_config answers as one that sets nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.caption.engines.captioner import BlipEngine
from models.chat.engine import ChatEngine
from models.chat.engines.vlm import TransformersVlmEngine
from models.entry import ModelEntry
from models.generation import neutral
from models.pictures import encode
from models.tasks import ChatJob, ImagePart, Message, SpeechJob, TextPart, TokenLogprob
from tests.checkpoints import write_pocket_tts
from tests.models.conftest import Shelf, entry_of, loaded

EVERYTHING: dict[str, Any] = {
    "max_length": 3,
    "max_new_tokens": 2,
    "min_length": 30,
    "min_new_tokens": 30,
    "max_time": 0.000001,
    "stop_strings": ["e", "a", "o"],
    "do_sample": True,
    "num_beams": 3,
    "early_stopping": True,
    "use_cache": False,
    "temperature": 5.0,
    "top_k": 2,
    "top_p": 0.1,
    "min_p": 0.9,
    "typical_p": 0.2,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "repetition_penalty": 5.0,
    "encoder_repetition_penalty": 3.0,
    "length_penalty": -5.0,
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[number] for number in range(20, 400, 2)],
    "renormalize_logits": True,
    "forced_bos_token_id": 30,
    "forced_eos_token_id": 31,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": [1, 5.0],
    "suppress_tokens": list(range(21, 400, 4)),
    "begin_suppress_tokens": list(range(23, 400, 4)),
    "sequence_bias": [[[40], 50.0]],
    "guidance_scale": 3.0,
    "watermarking_config": {
        "greenlist_ratio": 0.25,
        "bias": 50.0,
        "hashing_key": 15485863,
        "seeding_scheme": "lefthash",
    },
    "num_return_sequences": 1,
    "output_scores": True,
    "return_dict_in_generate": True,
    "penalty_alpha": 0.6,
    "diversity_penalty": 1.0,
    "prompt_lookup_num_tokens": 5,
}


def opinionated(entry: ModelEntry, folder: Path, **left_out: object) -> ModelEntry:
    """A copy of the checkpoint whose generation_config says everything, except what is `left_out`."""
    shutil.copytree(entry.checkpoint, folder)
    path = folder / "generation_config.json"
    given = json.loads(path.read_text()) if path.exists() else {}
    kept = {name: value for name, value in given.items() if name.endswith(("_token_id", "_eos"))}
    path.write_text(json.dumps({**EVERYTHING, **left_out, **kept}))
    return entry.model_copy(update={"checkpoint": str(folder)})


def ask(**options: Any) -> ChatJob:
    picture = ImagePart(encode(Image.new("RGB", (56, 56), "red")))
    return ChatJob((Message("user", (picture, TextPart("hello hello"))),), **{"max_tokens": 16, **options})


def answer(engine: ChatEngine, job: ChatJob) -> tuple[str, list[TokenLogprob]]:
    deltas = list(engine.stream(job, lambda: False))
    return "".join(delta.text for delta in deltas), [one for delta in deltas for one in delta.logprobs]


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3"])
def test_chat_answers_and_log_probabilities_are_the_models_own(name: str, shelf: Shelf, tmp_path: Path) -> None:
    plain: TransformersVlmEngine = loaded(shelf(name))
    loud: TransformersVlmEngine = loaded(opinionated(shelf(name), tmp_path / "loud"))
    assert loud._end_tokens == plain._end_tokens
    for job in (ask(top_logprobs=3), ask(temperature=0.9, seed=4), ask(repetition_penalty=1.2, top_k=5)):
        expected, logprobs = answer(plain, job)
        said, found = answer(loud, job)
        assert said == expected
        assert [one.token for one in found] == [one.token for one in logprobs]
        np.testing.assert_allclose([one.logprob for one in found], [one.logprob for one in logprobs], atol=1e-5)


@pytest.mark.parametrize("name", ["blip", "blip2"])
def test_captions_are_greedy_whatever_the_checkpoint_prefers(name: str, shelf: Shelf, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    plain: BlipEngine = loaded(shelf(name))
    loud: BlipEngine = loaded(opinionated(shelf(name), tmp_path / "loud"))
    assert loud.caption(pictures, "a photo of") == plain.caption(pictures, "a photo of")
    assert loud.caption(pictures) == plain.caption(pictures)


def test_a_voice_speaks_by_our_defaults_and_ends_by_the_checkpoints(tmp_path: Path) -> None:
    write_pocket_tts(tmp_path / "plain")
    entry = entry_of("pocket_tts", tmp_path / "plain")
    spoken = loaded(entry).speak(SpeechJob("The old man."))
    loud = loaded(opinionated(entry, tmp_path / "loud", num_flow_steps=9)).speak(SpeechJob("The old man."))
    assert np.array_equal(loud.samples, spoken.samples)
    soon = opinionated(entry, tmp_path / "soon", eos_threshold=-1e9, min_frames_before_eos=0)
    assert loaded(soon).speak(SpeechJob("The old man.")).seconds < spoken.seconds


@pytest.fixture
def own_processors() -> Iterator[None]:
    """mlx-vlm puts its own processors into transformers' AutoProcessor; undone for the tests that follow."""
    from transformers import AutoProcessor

    own = AutoProcessor.__dict__["from_pretrained"]
    yield
    AutoProcessor.from_pretrained = own


@pytest.mark.usefixtures("own_processors")
def test_chat_on_mlx_is_the_models_own_too(tmp_path: Path) -> None:
    from models.checkpoints import local_folder

    builtin = entry_of("vlm_mlx", local_folder("builtin:vlm") or "")
    plain, loud = loaded(builtin), loaded(opinionated(builtin, tmp_path / "loud"))
    one_by_one = loaded(opinionated(builtin, tmp_path / "alone").model_copy(update={"options": {"max_batch": 1}}))
    for job in (ask(top_logprobs=2), ask(temperature=0.9, seed=4)):
        expected = answer(plain, job)
        assert answer(loud, job) == expected
        assert answer(one_by_one, job) == expected


def test_transformers_has_no_setting_that_is_kept_without_being_known() -> None:
    """Fails when a new version of transformers fills in something that changes answers."""
    from transformers import GenerationConfig

    kept = neutral(GenerationConfig(**EVERYTHING, eos_token_id=[1, 2], pad_token_id=0))
    changed = {name for name, value in kept.to_diff_dict().items() if value is not None}
    assert changed - {"transformers_version"} == {"eos_token_id", "pad_token_id"}
    assert kept._get_default_generation_params() == {
        "max_length": 20,
        "min_length": 0,
        "do_sample": False,
        "use_cache": True,
        "early_stopping": False,
        "num_beams": 1,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
        "typical_p": 1.0,
        "repetition_penalty": 1.0,
        "length_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "bad_words_ids": None,
        "num_return_sequences": 1,
        "output_scores": False,
        "return_dict_in_generate": False,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "remove_invalid_values": False,
        "exponential_decay_length_penalty": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "encoder_repetition_penalty": 1.0,
        "num_assistant_tokens": 20,
        "num_assistant_tokens_schedule": "constant",
        "assistant_confidence_threshold": 0.4,
        "assistant_lookbehind": 10,
        "target_lookbehind": 10,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 0), ("min_p", 1.5), ("repetition_penalty", 0.0), ("repetition_penalty", float("nan"))],
)
def test_a_sampling_field_out_of_its_range_is_named(field: str, value: float) -> None:
    from models.errors import InvalidInput

    with pytest.raises(InvalidInput, match="allowed") as caught:
        ask(**{field: value})
    assert caught.value.param == field


def test_biases_of_tokens_that_there_are_not_are_refused(qwen: TransformersVlmEngine) -> None:
    from models.errors import InvalidInput

    with pytest.raises(InvalidInput, match="no token 999999") as caught:
        qwen.stream(ask(logit_bias={999_999: 1.0}), lambda: False)
    assert caught.value.param == "logit_bias"
