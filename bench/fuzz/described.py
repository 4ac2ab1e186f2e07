"""What the OpenAPI description allows and forbids: Schemathesis, with `verdict` as its check.

This module is also what Schemathesis loads as its hooks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import schemathesis

from bench.fuzz.verdict import HANGS_AFTER, Tally, fault_of

ROOT = Path(__file__).parent.parent.parent


@schemathesis.check
def keeps_the_contract(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - the signature of a check
    """Raise for an answer that breaks the contract."""
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    if fault := fault_of(case.method, response.status_code, headers, response.content):
        raise AssertionError(fault)


def run(url: str, seed: int, seconds: float, workers: int, folder: Path) -> Tally:
    """Send what Schemathesis makes of the description for so long; `folder` takes its reports.

    The boundaries of every field (its phase `coverage`) come first and once, from one thread: several of them upset
    Python's parser (3.11), as they may later. Raises RuntimeError when Schemathesis itself fails.
    """
    tally = Tally("described")
    begun_with = min(seconds / 3, 600)
    _run(tally, url, seed, begun_with, 1, "examples,coverage", folder / "coverage.json")
    _run(tally, url, seed, seconds - begun_with, workers, "fuzzing,stateful", folder / "fuzzing.json")
    return tally


def _run(tally: Tally, url: str, seed: int, seconds: float, workers: int, phases: str, report: Path) -> None:
    checks = "keeps_the_contract,content_type_conformance,response_schema_conformance"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--no-color",
        "--phases", phases, "--checks", checks, "--continue-on-failure", "--no-shrink",
        "--seed", str(seed), "--max-time", str(max(1, round(seconds))), "--workers", str(workers),
        "--request-timeout", str(HANGS_AFTER), "--suppress-health-check", "all", "--warnings", "off",
        "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "bench.fuzz.described", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=report.parent, env=environment, capture_output=True, text=True, check=False,
        timeout=seconds + 4 * HANGS_AFTER,
    )  # fmt: skip
    if not report.exists():
        raise RuntimeError(f"Schemathesis ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    told = json.loads(report.read_text())
    tally.statuses["by Schemathesis"] += told["test_cases"]["generated"]
    tally.faults += [json.dumps(each)[:1500] for each in told["failures"]]
    for each in told["errors"]:  # of its own threads, on Python 3.11: no answer of the server's was wrong
        print(f"Schemathesis itself failed: {json.dumps(each)[:1500]}")
