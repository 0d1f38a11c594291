"""The bench of `make torture`, for some minutes and from a fixed seed: no defect in any of its cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.faults import compiler

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="faults are injected by a layer that a C compiler makes: none is here")
@pytest.mark.skipif(sys.platform != "linux", reason="faults are injected by LD_PRELOAD, which is Linux's")
def test_nothing_is_lost_and_nothing_is_wrong_in_silence(tmp_path: Path) -> None:
    output = tmp_path / "counts.json"
    command = [sys.executable, "-m", "tests.torture", "--minutes", "2", "--seed", "0", "--output", str(output)]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    counts = json.loads(output.read_text())
    assert sum(counts["cases"].values()) > 20, ended.stdout
    assert [(found["case"], found["defects"]) for found in counts["found"]] == []
    assert ended.returncode == 0, ended.stdout
