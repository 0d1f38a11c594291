"""The torture's commands, each in a process of its own: those of the bench itself share what one has imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.commands import COMMANDS
from tests.torture.fault_cases import CODES, set_up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torture") / "world"
    make = f"from pathlib import Path; from tests.torture.worlds import make_world; make_world(Path({str(folder)!r}))"
    made = subprocess.run([sys.executable, "-c", make], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_well_where_nothing_else_was_imported(world: Path, tmp_path: Path, name: str) -> None:
    work = set_up(world, tmp_path / "case", COMMANDS[name].inputs)
    command = [sys.executable, "-m", "meshcast", *COMMANDS[name].arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode in CODES.get(name, (0,)), ended.stderr[-2000:]
    assert "Traceback" not in ended.stderr
