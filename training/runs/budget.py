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

from emulator.build import is_closed_form
from emulator.foundation.threads import faster_threads, threads_given
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.neural import NeuralEmulator
from graphs.atomic_file import atomic_file
from training.experiment import ExperimentConfig
from training.preparation.first_guess import initial_network
from training.preparation.prepared import Prepared, prepare, windows_of
from training.preparation.windows import Windows
from training.run_folder import is_first_process, run_folder

TIMED_UPDATES = 20
WARM_UP = 2  # the first updates are slow: memory is allocated, kernels are chosen


def with_budget(
    prepared: Prepared, emulator: NeuralEmulator, windows: Windows, starts: Windows, folder: Path
) -> ExperimentConfig:
    """The configuration with minutes turned into updates, once: the number is saved and used again on resume."""
    config = prepared.config
    if config.training.minutes is None:
        return config
    while not is_first_process() and "updates" not in _budget(folder):
        time.sleep(0.1)  # all processes take the same number of updates, which the first one finds out
    updates = _budget(folder).get("updates")
    if updates is None:
        updates = keep_budget(folder, config, time_updates(config, emulator, windows, starts))
    return replace(config, training=replace(config.training, updates=updates))


def keep_budget(folder: Path, config: ExperimentConfig, seconds_per_update: float) -> int:
    """Write the updates that a budget of minutes comes to into a run folder, where none are written yet; their number.

    So that the seeds of one row get the same number, it is measured once and kept for each.
    """
    assert config.training.minutes is not None
    if "updates" not in _budget(folder):
        updates = max(1, int(config.training.minutes * 60 / seconds_per_update))
        _add_to_budget(folder, updates=updates, seconds_per_update=seconds_per_update)
    return int(_budget(folder)["updates"])


def threads_of(config: ExperimentConfig, emulator: NeuralEmulator, windows: Windows, folder: Path) -> int:
    """Return the threads of PyTorch that a run takes, found out once and saved with its budget for when it is resumed.

    Measured are the gradients of one batch. Nothing is where the configuration or OMP_NUM_THREADS says it, where
    several processes share the machine, on a GPU, and for Keras, whose threads are TensorFlow's.
    """
    training = config.training
    on_cpu = training.accelerator == "cpu" or not torch.cuda.is_available()
    alone = training.devices == training.num_nodes == 1 and is_first_process()
    if not on_cpu or not alone or isinstance(config.emulator, KerasConfig):
        return training.threads or torch.get_num_threads()
    threads: int | None = threads_given(training.threads) or _budget(folder).get("threads")
    if threads is not None:
        return threads
    from training.optimisation.module import EmulatorModule

    module = EmulatorModule(deepcopy(emulator), windows, windows, training, config.validation)
    batch = next(iter(DataLoader(windows, batch_size=training.batch_size)))
    with torch.random.fork_rng(devices=[]):  # so that measuring changes no number drawn later
        threads = faster_threads(lambda: module.loss(batch).backward())
    _add_to_budget(folder, threads=threads)
    return threads


def _budget(folder: Path) -> dict[str, Any]:
    stored = folder / "budget.json"
    return dict(json.loads(stored.read_text())) if stored.is_file() else {}


def _add_to_budget(folder: Path, **more: float) -> None:
    content = {**_budget(folder), **more}
    with atomic_file(folder / "budget.json") as temporary:
        temporary.write_text(json.dumps(content))


def time_updates(
    config: ExperimentConfig, emulator: NeuralEmulator, windows: Windows, starts: Windows, updates: int = TIMED_UPDATES
) -> float:
    """Seconds an update takes, its reading and its share of a validation included, on copies that are thrown away.

    Processor seconds of all threads, or the clock's on a GPU; the mean over the stages of a curriculum.
    """
    update, validation = time_parts(config, emulator, windows, starts, updates)
    return update + validation / config.validation.every


def time_parts(
    config: ExperimentConfig, emulator: NeuralEmulator, windows: Windows, starts: Windows, updates: int = TIMED_UPDATES
) -> tuple[float, float]:
    """Seconds of an update and of a validation; see `time_updates`."""
    if isinstance(config.emulator, KerasConfig):
        from training.optimisation import keras_training

        laps, validation = keras_training.rehearse(config, emulator, windows, starts, updates + WARM_UP)
        return float(np.median(laps[WARM_UP:])), validation
    from training.optimisation.gradient_descent import rehearse
    from training.optimisation.module import EmulatorModule

    seconds = 0.0
    for share, unroll in config.training.stages:
        training = replace(config.training, unroll=unroll, curriculum=())
        module = EmulatorModule(deepcopy(emulator), windows, starts, training, config.validation)
        stopwatch = rehearse(replace(config, training=training), module, updates + WARM_UP)
        seconds += share * float(np.median(stopwatch.updates[WARM_UP:]))
    return seconds, stopwatch.validation


def dry_run(config: ExperimentConfig) -> dict[str, Any]:
    """Open the data, build the graphs, take two updates, and say what a run would take. Nothing is written."""
    prepared = prepare(config)
    fields = prepared.train
    said: dict[str, Any] = {
        "data": f"{len(fields.times)} times, {fields.ensemble_size} ensemble rows, {len(fields.variables)} variables",
        "mesh": fields.mesh.describe(),
        "time step": str(prepared.task.time_step),
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
        "core minutes to expect": config.training.minutes or round(minutes, 2),
        "peak memory [MB]": round(_peak_memory() / 1e6),
        "run folder": str(run_folder(config)),
    }


def _peak_memory() -> float:
    """Bytes this process has held at most: of the GPU where it used one, else of main memory."""
    import resource
    import sys

    if torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
