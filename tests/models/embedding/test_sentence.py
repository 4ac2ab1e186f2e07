"""Vectors of texts alone, on tiny checkpoints as sentence-transformers and transformers write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.embedding.engines.sentence import SentenceEngine
from models.errors import Cancelled, CheckpointError
from tests.checkpoints.words import LIVELY, bert_tokenizer
from tests.models.conftest import entry_of, loaded, with_options

TEXTS = ["a red circle", "three small blue stars on the left", "a red circle"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT as transformers writes it."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("sentence") / "plain"
    tokenizer = bert_tokenizer()
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **LIVELY)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def with_modules(plain: Path, folder: Path, pooling: dict[str, Any], *, dense: bool = False) -> Path:
    """The same with what sentence-transformers writes beside it."""
    shutil.copytree(plain, folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Dense", "Dense")] if dense else [])]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12, "do_lower_case": false}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    if dense:
        (folder / "2_Dense").mkdir()
        config = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.Tanh"}
        config["activation_function"] = "torch.nn.modules.activation.Tanh"
        (folder / "2_Dense/config.json").write_text(json.dumps(config))
        weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
        save_file(weights, folder / "2_Dense/model.safetensors")
    return folder


def hidden(folder: Path, text: str) -> torch.Tensor:
    """The last hidden states of a text by itself, without padding, [tokens, 32]."""
    from transformers import AutoModel, AutoTokenizer

    with torch.inference_mode():
        states: torch.Tensor = AutoModel.from_pretrained(folder)(
            **AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        ).last_hidden_state[0]
    return states


def unit(vector: torch.Tensor) -> np.ndarray:
    found: np.ndarray = (vector / vector.norm()).numpy()
    return found


def test_a_plain_encoder_is_pooled_by_the_mean_of_what_is_no_padding(plain: Path) -> None:
    engine: SentenceEngine = loaded(entry_of("sentence", plain))
    vectors = engine.embed_texts(TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors.shape, engine.dimension) == ((3, 32), 32)
    for vector, text in zip(vectors, TEXTS, strict=True):
        np.testing.assert_allclose(vector, unit(hidden(plain, text).mean(0)), atol=1e-5)
    assert engine.context_length == 24
    assert engine.count_tokens("a red circle") == 5
    assert engine.footprint > 0


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda states: states[0]),
        ({"pooling_mode": "lasttoken"}, lambda states: states[-1]),
        ({"pooling_mode": ["cls", "max"]}, lambda states: torch.cat([states[0], states.max(0).values])),
    ],
)
def test_a_checkpoint_is_pooled_as_it_says(plain: Path, tmp_path: Path, pooling: dict[str, Any], expected: Any) -> None:
    folder = with_modules(plain, tmp_path / "st", pooling)
    engine: SentenceEngine = loaded(entry_of("sentence", folder))
    np.testing.assert_allclose(engine.embed_texts(TEXTS)[1], unit(expected(hidden(plain, TEXTS[1]))), atol=1e-5)
    assert engine.context_length == 12


def test_a_dense_layer_makes_vectors_of_its_own_length(plain: Path, tmp_path: Path) -> None:
    engine: SentenceEngine = loaded(entry_of("sentence", with_modules(plain, tmp_path / "st", {}, dense=True)))
    vectors = engine.embed_texts(TEXTS)
    assert vectors.shape == (3, 8) == (3, engine.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_prompt_comes_before_every_text_and_takes_its_room(plain: Path) -> None:
    engine: SentenceEngine = loaded(with_options(entry_of("sentence", plain), prompt="describe this image "))
    without: SentenceEngine = loaded(entry_of("sentence", plain))
    np.testing.assert_allclose(
        engine.embed_texts(["a red circle"]), without.embed_texts(["describe this image a red circle"]), atol=1e-5
    )
    assert engine.context_length < without.context_length


def test_batches_and_those_who_leave_change_nothing(plain: Path) -> None:
    one: SentenceEngine = loaded(with_options(entry_of("sentence", plain), max_batch=1))
    many: SentenceEngine = loaded(entry_of("sentence", plain))
    np.testing.assert_allclose(one.embed_texts(TEXTS), many.embed_texts(TEXTS), atol=1e-5)
    assert many.embed_texts([]).shape == (0, 32)
    with pytest.raises(Cancelled):
        many.embed_texts(TEXTS, lambda: True)


def test_a_module_that_is_not_there_is_one_line(plain: Path, tmp_path: Path) -> None:
    folder = with_modules(plain, tmp_path / "st", {})
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "somewhere.Else"}]')
    with pytest.raises(CheckpointError, match="could not be loaded as sentence"):
        loaded(entry_of("sentence", folder))
