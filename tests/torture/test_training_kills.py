"""Trainings that were killed and resumed have the weights of one that nobody killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="trainings are forked from a process with threads of libraries")
def test_a_training_killed_anywhere_goes_on_bit_for_bit() -> None:
    command = [sys.executable, "-m", "tests.torture.training_kills", "--kills", "24", "--minutes", "1.5",
               "--networks", "torch", "strategies", "two ranks", "changing ranks"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
