"""The run on a GPU, here with tiny checkpoints on the CPU: every part, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu import parts
from bench.gpu.__main__ import main
from bench.gpu.parts import PARTS, Part
from bench.gpu.report import Figure
from bench.gpu.runner import run
from bench.gpu.work import Work
from cli.environment import ROOT


def works(work: Work) -> None:
    work.figure("work", 1, "s", beside=2, target=3)


def raises(work: Work) -> None:
    work.attempt("first", lambda: 1 / 0)
    work.figure("second", 2, "s")


def breaks(work: Work) -> None:
    work.figure("first", 1, "s")
    raise RuntimeError("no more\nof this")


def is_killed(work: Work) -> None:
    work.figure("first", 1, "s")
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(work: Work) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    work.figure("child", child.pid, "")
    time.sleep(600)


def turns(work: Work) -> None:
    work.turn(1)
    work.figure("quick", time.monotonic(), "s")
    work.turn(1)
    work.figure("quick, again", time.monotonic(), "s")
    work.turn(5)
    work.figure("slow", time.monotonic(), "s")


def turns_last(work: Work) -> None:
    work.turn(1)
    work.figure("quick too", time.monotonic(), "s")
    work.turn(5)
    work.figure("slow too", time.monotonic(), "s")


def hangs_in_its_turn(work: Work) -> None:
    work.turn(2)
    time.sleep(600)


def part(name: str, seconds: float = 60, environment: str | None = None) -> Part:
    return Part(name, name, f"{__name__}:{name}", seconds, environment=environment)


@pytest.mark.nightly
@pytest.mark.timeout(1600)  # it has 1500 s of its own, and a busy machine may need some of them
def test_a_tiny_run_comes_through_every_part(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "environment.sh"
    subprocess.run([script, "qwen_tts"], env={**os.environ, "PYTHON": sys.executable}, check=True)
    assert main(["--tiny", "--seconds", "1500", "--out", str(tmp_path)]) == 0
    found = read(tmp_path)
    assert found["failed"] == 0
    assert [each["name"] for each in found["parts"]] == [each.name for each in PARTS]
    for each in found["parts"]:
        assert each["state"] == "done", each
        assert not each["problems"]
        assert each["figures"], each
        assert all(figure["value"] > 0 for figure in each["figures"])
        assert any(figure["beside"] for figure in each["figures"]), f"{each['name']} has nothing beside it"
    table = (tmp_path / "gpu.md").read_text()
    assert all(f"| {each.name} |" in table for each in PARTS)


@pytest.mark.nightly
def test_a_part_that_fails_hangs_or_is_killed_leaves_the_others_and_its_own_figures(tmp_path: Path) -> None:
    lines: list[str] = []
    chosen = [part("raises"), part("breaks"), part("is_killed"), part("hangs", seconds=1), part("works")]
    report = run(chosen, tmp_path, tiny=True, seconds=60, note=lines.append)
    assert report.failed == 4
    found = {each["name"]: each for each in read(tmp_path)["parts"]}
    assert {name: each["state"] for name, each in found.items()} == {
        "raises": "failed",
        "breaks": "failed",
        "is_killed": "failed",
        "hangs": "failed",
        "works": "done",
    }
    assert all(each["figures"] for each in found.values())
    assert found["raises"]["problems"] == ["first: ZeroDivisionError: division by zero"]
    assert found["breaks"]["problems"] == ["RuntimeError: no more"]
    assert "SIGKILL" in found["is_killed"]["problems"][0]
    assert found["hangs"]["problems"][0].startswith("stopped: it was not done after")
    child = int(found["hangs"]["figures"][0]["value"])
    assert not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text()
    assert any(line.startswith("works: done") for line in lines)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_with_drawn_weights_nothing_is_read_and_every_engine_has_the_bare_library_beside_it(tmp_path: Path) -> None:
    names = ["search", "klein", "dev", "chat"]
    assert main(["--tiny", "--drawn", "--seconds", "800", "--out", str(tmp_path), "--only", *names]) == 0
    found = {each["name"]: each for each in read(tmp_path)["parts"]}
    assert list(found) == names
    for each in found.values():
        figures = [figure["what"] for figure in each["figures"]]
        assert not [what for what in figures if what.startswith("load")]
        assert any(figure["beside"] for figure in each["figures"])
    assert any("nf4" in line for line in found["klein"]["left_out"])
    assert "picture, step cache 0.12" in [figure["what"] for figure in found["dev"]["figures"]]


@pytest.mark.nightly
def test_parts_with_drawn_weights_take_turns_and_what_is_quick_comes_first(tmp_path: Path) -> None:
    lines: list[str] = []
    chosen = [
        part("turns"),
        part("breaks"),
        part("is_killed"),
        part("hangs_in_its_turn", seconds=1),
        part("turns_last"),
    ]
    report = run(chosen, tmp_path, tiny=True, seconds=120, note=lines.append, drawn=True)
    assert {each.name: each.state for each in report.parts} == {
        "turns": "done",
        "breaks": "failed",
        "is_killed": "failed",
        "hangs_in_its_turn": "failed",
        "turns_last": "done",
    }
    told = {figure.what: figure.value for each in report.parts for figure in each.figures}
    assert told["quick"] < told["quick too"] < told["quick, again"] < told["slow too"] < told["slow"]


@pytest.mark.nightly
def test_a_part_for_which_no_time_is_left_is_not_begun_and_counts_as_failed(tmp_path: Path) -> None:
    report = run([part("hangs", seconds=30), part("works")], tmp_path, tiny=True, seconds=6, note=lambda _: None)
    assert report.failed == 2
    assert read(tmp_path)["parts"][1]["problems"] == ["not begun: no time is left"]


@pytest.mark.nightly
def test_a_part_whose_packages_are_not_installed_fails_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_ENVIRONMENTS", str(tmp_path / "nowhere"))
    report = run([part("works", environment="qwen_tts")], tmp_path, tiny=True, seconds=60, note=lambda _: None)
    (problem,) = report.parts[0].problems
    assert problem == "FileNotFoundError: the packages of qwen_tts are not in " + str(tmp_path / "nowhere/qwen_tts")


@pytest.mark.nightly
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_each_part_says_so_in_one_line_and_all_have_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path)]) == len(PARTS)
    for each in read(tmp_path)["parts"]:
        assert each["state"] == "failed"
        (problem,) = each["problems"]
        assert "no GPU can be used" in problem
        assert "\n" not in problem
    assert "no GPU can be used" in capsys.readouterr().err


def test_a_part_that_there_is_not_is_refused_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "klein", "kleine", "--out", str(tmp_path)])
    assert ended.value.code != 0
    said = capsys.readouterr().err
    assert "kleine" in said
    assert all(each.name in said for each in PARTS)
    assert not any(tmp_path.iterdir())


def test_the_list_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == [each.name for each in PARTS]


def test_a_figure_stands_beside_the_bare_one_and_its_target() -> None:
    faster = Figure("picture", 2.0, "s", beside=4.0, target=2.4)
    assert (faster.ratio, faster.meets_target) == (0.5, True)
    assert Figure("speech", 3.0, "x", target=3.3, at_least=True).meets_target is False
    assert Figure("load", 3.0, "s").meets_target is None


def test_the_parts_fit_in_nine_minutes_only_in_order_of_worth() -> None:
    assert len({each.name for each in PARTS}) == len(PARTS)
    assert parts.CARD not in PARTS
    assert sum(each.seconds for each in PARTS[:4]) < 9 * 60


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found
