"""Whose errors mean that there was no memory."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from cli.environment import ROOT
from models.memory import lacks_memory

PARSES_WITHOUT_MEMORY = """
import resource
from pydantic_core import from_json
from models.memory import is_panic, lacks_memory

body = b'{"a": "' + b"x" * 30_000_000 + b'"}'
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (2**20, before[1]))
try:
    from_json(body)
except BaseException as error:
    resource.setrlimit(resource.RLIMIT_AS, before)
    print(is_panic(error) or isinstance(error, MemoryError), lacks_memory(error))
"""


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("the model is out of order"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_want_of_memory_is_distinguished_from_other_errors(error: Exception, is_it: bool) -> None:
    assert lacks_memory(error) is is_it


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
def test_a_parser_that_gives_up_without_memory_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSES_WITHOUT_MEMORY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n", done.stderr
