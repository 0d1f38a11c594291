"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from emulator.foundation.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(int(sys.argv[2]) // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(how: str, size: int) -> int:
    # In the form of a fresh process, with no setting of its own.
    run = subprocess.run([sys.executable, "-c", CODE, how, str(size)], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.parametrize("size", [8_000_000, 80_000_000])
def test_tensors_made_again_and_again_need_no_new_pages(size: int) -> None:
    assert faults("keep", size) < 100
    assert size < 32 * 2**20 or faults("", size) > 20  # the larger ones are mapped each time otherwise
