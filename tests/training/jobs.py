"""Trainings that schedulers start, slow enough to be ended on the way while they take hardly any processor time."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import dump
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig
from training.losses import LOSSES
from training.resumable import checkpoints_of, updates_done
from training.shares import BATCH_SIZE

ROOT = Path(__file__).parents[2]
PATIENCE = 420.0  # seconds
WAITING = '''
import time
from training.losses import mse

def patient(error):
    """The squared error, a while later."""
    time.sleep({seconds})
    return mse(error)

LOSSES = {{"patient": patient}}
'''


def world(folder: Path, seconds: float, **training: Any) -> tuple[ExperimentConfig, Path]:
    """An experiment whose updates take so many seconds, and the plug-in that has them wait."""
    plugin = folder / "patient.py"
    plugin.write_text(WAITING.format(seconds=seconds))
    LOSSES.setdefault("patient", LOSSES["mse"])
    settings = {"updates": 300, "loss": "patient", "batch_size": BATCH_SIZE, "global_batch_size": 4, **training}
    config = experiment(folder, name="whole", training=settings, validation={"every": 50})
    dump(replace(config, name="job"), folder / "job.yaml")
    return config, plugin


def wait_for(folder: Path, updates: int) -> None:
    """Wait until a run has a checkpoint of so many updates."""
    until = time.monotonic() + PATIENCE
    while not checkpoints_of(folder) or updates_done(checkpoints_of(folder)[0]) < updates:
        assert time.monotonic() < until
        time.sleep(0.2)


def process_with(**variables: str) -> int:
    """The number of the process that has these variables in its environment."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted <= set(place.read_bytes().split(b"\0")):
                return int(place.parent.name)
    raise ProcessLookupError(str(variables))
