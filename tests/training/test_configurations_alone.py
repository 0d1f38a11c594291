"""A configuration is read by a process that has imported nothing but its class."""

from __future__ import annotations

import subprocess
import sys

import pytest

CLASSES = [("training.experiment", "ExperimentConfig"), ("training.comparison.configuration", "CompareConfig")]


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_every_kind_of_emulator_is_known_in_a_process_of_its_own(module: str, name: str) -> None:
    """`meshcast graph` imports little more, and once knew no kind at all."""
    code = f"from {module} import {name}\nfrom emulator.foundation.configuration import adapter_of\nadapter_of({name})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
