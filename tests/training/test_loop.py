"""The loop of every training: what ends it, and what is looked at meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.loop import Check, Schedule, fit


def test_a_run_that_has_had_its_seconds_ends_with_a_low_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    model = torch.nn.Linear(2, 1)
    schedule = Schedule(steps=10**9, lr=1e-3, warmup=1, seconds=0.5)
    fit("short", model, lambda _step, _rng: model(torch.ones(1, 2)).square().sum(), schedule)
    kept = torch.load(tmp_path / "short" / "checkpoint.pt", weights_only=True)
    assert 0 < kept["step"] < 10**9
    assert schedule.share(10, 0.1) > schedule.share(10, 0.4) > schedule.share(10, 0.5) == pytest.approx(0, abs=1e-6)


def test_a_look_sees_the_averaged_weights_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    model = torch.nn.Linear(1, 1, bias=False)
    looks: list[float] = []
    trained: list[float] = []

    def loss_of(_step: int, _rng: np.random.Generator) -> torch.Tensor:
        trained.append(model.weight.item())
        loss: torch.Tensor = model(torch.ones(1, 1)).sum()
        return loss

    fit("average", model, loss_of, Schedule(steps=30, lr=0.1, warmup=1, bf16=False),
        Check(10, lambda _step: looks.append(model.weight.item())))  # fmt: skip
    # The weight falls at every step, and its average lags behind it.
    assert looks[1] > trained[20]
    assert trained[21] < trained[20] < trained[19]
