"""A configuration in which one model's checkpoint cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from cli.environment import ROOT
from tests.api.conftest import fault
from tests.servers import start_server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The voice, and a chat and a search model whose configurations are nonsense."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "qwen2_5_vl", "hidden_size": "many", "vision_config": {}}')
    (broken / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": "many"}}')
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0] |= {
        "args": {
            "image_enabled": False,
            "models": {
                "broken": {"engine": "vlm", "checkpoint": str(broken)},
                "clip": {"engine": "clip", "checkpoint": str(broken)},
                "voice": {"engine": "espeak", "checkpoint": "builtin:voice"},
            },
        },
        "deployments": [],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.nightly
def test_a_model_that_does_not_load_is_an_error_at_once_and_the_others_work(tmp_path: Path, config: Path) -> None:
    server = start_server(tmp_path / "home", config, ATELIER_DASHBOARD="0")
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=120) as http:
            body = {"model": "broken", "messages": [{"role": "user", "content": "Hello"}]}
            for stream in (False, True):
                answer = http.post("/v1/chat/completions", json={**body, "stream": stream})
                assert fault(answer) == (500, "MODEL_LOAD_FAILED", None)
                assert str(tmp_path) not in answer.text
            ready = http.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["models"] == {"broken": "failed", "clip": "cold", "voice": "cold"}
            searched = http.post("/v1/images/search", json={"query": "a red circle"})
            assert fault(searched) == (500, "MODEL_LOAD_FAILED", None)
            ready = http.get("/readyz").json()
            assert (ready["models"]["clip"], ready["image_search_ready"]) == ("failed", False)
            spoken = http.post("/v1/voice/generate", data={"text": "Hello.", "voice": "nova"})
            assert spoken.status_code == 200
            made = http.post("/v1/images/generations", json={"prompt": "a"})
            assert fault(made) == (404, "feature_disabled", None)
    finally:
        assert server.stop() == 0
