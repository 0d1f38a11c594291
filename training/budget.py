"""What a run takes: updates from minutes, and what to expect before it begins."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from emulator.atomic_file import atomic_file
from emulator.build import is_closed_form
from emulator.neural import NeuralEmulator
from training.experiment import ExperimentConfig, TrainingConfig
from training.first_guess import initial_network
from training.prepared import Prepared, prepare, windows_of
from training.run_folder import run_folder
from training.windows import ShuffledStream, Windows

TIMED_UPDATES = 20


def with_budget(
    prepared: Prepared, emulator: NeuralEmulator, windows: Windows, starts: Windows, folder: Path
) -> ExperimentConfig:
    """The configuration with minutes turned into updates, once: the number is saved and used again on resume."""
    config = prepared.config
    if config.training.minutes is None:
        return config
    stored = folder / "budget.json"
    if stored.is_file():
        updates = json.loads(stored.read_text())["updates"]
    else:
        seconds = time_updates(config, emulator, windows, starts)
        updates = max(1, int(config.training.minutes * 60 / seconds))
        with atomic_file(stored) as part:
            part.write_text(json.dumps({"updates": updates, "seconds_per_update": seconds}))
    return replace(config, training=replace(config.training, updates=updates))


def time_updates(
    config: ExperimentConfig, emulator: NeuralEmulator, windows: Windows, starts: Windows, updates: int = TIMED_UPDATES
) -> float:
    """Median seconds of an update, its reading included, on a copy that is thrown away."""
    from training.module import EmulatorModule

    device = device_of(config.training)
    module = EmulatorModule(deepcopy(emulator), windows, starts, config.training, config.validation).to(device)
    optimiser = torch.optim.AdamW(module.emulator.parameters())
    size = config.training.batch_size
    seconds = []
    start = time.perf_counter()
    for batch in DataLoader(windows, batch_size=size, sampler=ShuffledStream(len(windows), size, updates + 2, 0)):
        optimiser.zero_grad()
        module.loss({name: value.to(device) for name, value in batch.items()}).backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()  # an update is queued before it is done
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return float(np.median(seconds[2:] or seconds))


def device_of(training: TrainingConfig) -> torch.device:
    """Where Lightning will train: on a GPU where there is one and the configuration lets it."""
    wants_gpu = training.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")


def dry_run(config: ExperimentConfig) -> dict[str, Any]:
    """Open the data, build the graphs, take two updates, and say what a run would take. Nothing is written."""
    prepared = prepare(config)
    fields = prepared.train
    said: dict[str, Any] = {
        "data": f"{len(fields.times)} times, {fields.ensemble_size} ensemble rows, {len(fields.variables)} variables",
        "mesh": fields.mesh.describe(),
        "time step": str(fields.time_step),
    }
    if is_closed_form(config.emulator):
        return {**said, "training": "closed form, no updates"}
    with torch.random.fork_rng(devices=[]):
        windows, starts = windows_of(prepared)
        emulator, _ = initial_network(prepared, windows)
        seconds = time_updates(config, emulator, windows, starts, updates=2)
    minutes = seconds * config.training.updates / 60
    return {
        **said,
        "windows": len(windows),
        "parameters": sum(weight.numel() for weight in emulator.parameters()),
        "seconds per update": round(seconds, 4),
        "minutes to expect": config.training.minutes or round(minutes, 2),
        "peak memory [MB]": round(_peak_memory(device_of(config.training)) / 1e6),
        "run folder": str(run_folder(config)),
    }


def _peak_memory(device: torch.device) -> float:
    """Bytes this process has held at most, of the device's memory."""
    import resource
    import sys

    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
