"""What goes along to a bare machine: the wheels of the lock files, in pieces, and their installation there."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.gpu import unpack
from bench.gpu.wheels import GROUPS, THERE, Pieces, Target, chosen, keep_only_cuda, main
from cli.environment import ROOT

MACHINE = Target("3.12", None)


def wheel(folder: Path, name: str, ballast: int = 0) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "#" * ballast + f"\nNAME = {name!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_pieces_stay_below_their_size_and_come_together_to_the_same_packages(tmp_path: Path) -> None:
    carried = tmp_path / "carried"
    pieces = Pieces(carried, 3000)
    for name, ballast, kind in (("small", 10, "site"), ("large", 20_000, "site"), ("spoken", 10, "speech")):
        pieces.add(wheel(tmp_path, name, ballast), kind)
    sizes = [sum(p.stat().st_size for p in each.rglob("*") if p.is_file()) for each in sorted(carried.iterdir())]
    assert len(sizes) == pieces.count > 5
    assert sum(sizes) == pieces.total
    assert max(sizes) <= 3000

    assert unpack.main(carried, tmp_path / "there") == 0
    for place, names in (("site", ["small", "large"]), ("environments/qwen_tts", ["spoken"])):
        code = f"import {', '.join(names)}; print(*[each.NAME for each in ({', '.join(names)},)])"
        folder = tmp_path / "there" / place
        said = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(folder)}, capture_output=True)
        assert said.stdout.decode().split() == names


def test_a_wheel_that_cannot_be_installed_costs_a_line_and_not_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried = tmp_path / "carried"
    pieces = Pieces(carried, 10_000)
    broken = tmp_path / "broken-1.0-py3-none-any.whl"
    broken.write_bytes(b"no wheel at all")
    pieces.add(wheel(tmp_path, "small"), "site")
    pieces.add(broken, "site")
    assert unpack.main(carried, tmp_path / "there") == 1
    assert capsys.readouterr().out == f"not installed: {broken.name}\n"
    assert (tmp_path / "there/site/small.py").is_file()


def test_what_goes_along_is_what_the_locks_say_once_and_not_what_goes_with_torch() -> None:
    found = chosen([*GROUPS, "speech"], MACHINE)
    assert list(found) == [*GROUPS, "speech"]
    own = [pin for group in GROUPS for pin in found[group]]
    assert len(own) == len(set(own))
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert set(own) <= {re.split(r"[ ;]", line)[0] for line in lines}
    names = {pin.split("==")[0] for pin in own}
    assert {"diffusers", "transformers", "bitsandbytes", "ray", "fastapi"} <= names
    assert not names & THERE
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "pytest", "mlx"))]
    speech = (ROOT / "requirements.qwen_tts.lock").read_text()
    assert all(pin in speech for pin in found["speech"])


def test_what_the_machine_has_stays_here_and_what_that_needs_goes_along() -> None:
    before, after = chosen(["engines"], MACHINE), chosen(["engines"], MACHINE, ["Rich"])
    assert [pin.split("==")[0] for pin in before["engines"] if pin not in after["engines"]] == ["rich"]
    assert "pygments" in {pin.split("==")[0] for pin in after["engines"]}


def test_libraries_for_other_versions_of_cuda_are_taken_out_of_a_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path, "bits")
    with zipfile.ZipFile(path, "a") as file:
        for name in ("cpu", "cuda121", "cuda130", "rocm72"):
            file.writestr(f"bits/libbits_{name}.so", b"library")
    keep_only_cuda(path, "999")  # none of them is for that: all stay
    assert len([name for name in zipfile.ZipFile(path).namelist() if name.endswith(".so")]) == 4
    keep_only_cuda(path, "130")
    kept = {name for name in zipfile.ZipFile(path).namelist() if name.endswith(".so")}
    assert kept == {"bits/libbits_cpu.so", "bits/libbits_cuda130.so"}
    assert not list(tmp_path.glob("*.new"))


def test_a_group_that_there_is_not_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--only", "everything"])
    assert "everything" in capsys.readouterr().err
