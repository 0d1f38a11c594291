"""Fitting an emulator, closed form or by gradient descent, into a run folder."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from emulator.atomic_file import atomic_file
from emulator.baselines.part import TrainingPart
from emulator.build import (
    TrainedEmulator,
    build_network,
    fit_closed_form,
    is_closed_form,
    load_emulator,
    save_emulator,
)
from emulator.configuration import dump, load, resolve
from emulator.data.fields import Fields
from emulator.data.forcing_sources import forcings_of
from emulator.forcings import STATIC_FEATURES, Forcings
from emulator.gnn import GNNConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics, partners_of
from emulator.plugins import PluginConfig
from emulator.task import Task
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.first_guess import fit_ridge, node_statistics, resolved, set_first_guess
from training.windows import ShuffledStream, Windows

log = logging.getLogger(__name__)

Resume = Literal["never", "auto"]
TIMED_UPDATES = 20


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment with its data opened."""

    config: ExperimentConfig
    task: Task
    train: Fields
    validation: Fields
    statistics: Statistics
    forcings: Forcings
    validation_forcings: Forcings
    valid: NDArray[np.bool_] | None

    @property
    def part(self) -> TrainingPart:
        """What a closed form may see."""
        return TrainingPart(self.train, forcings=self.forcings)


def prepare(config: ExperimentConfig) -> Prepared:
    """Open the data, make the task and take the statistics, from the training part alone."""
    train, validation = config.data.train.open(), config.data.validation.open()
    if not train.mesh.same_nodes(validation.mesh):
        raise MeshcastError(
            f"Training data on a {train.mesh.describe()} but validation data on a {validation.mesh.describe()}."
        )
    task = config.task.build(train)
    for name in task.static:
        if name not in train.variables and name not in STATIC_FEATURES:
            raise MeshcastError(
                f"No source for the static variable {name}: the data hold {', '.join(train.variables)}, computed are "
                f"{', '.join(STATIC_FEATURES)}."
            )
    names = tuple(variable.name for variable in task.predicted)
    statistics = Statistics.of(train, names, partners_of(task))
    tables = config.data.forcing_tables
    forcings, later = (forcings_of(task, part.mesh, part, tables) for part in (train, validation))
    return Prepared(config, task, train, validation, statistics, forcings, later, _valid(train, names))


def _valid(fields: Fields, names: tuple[str, ...]) -> NDArray[np.bool_] | None:
    """[node, variable] where the data ever have a value, by their first times; None where everywhere."""
    readable = np.array([index for index in range(len(fields.times)) if index not in fields.missing][:24])
    valid = np.asarray(np.isfinite(fields.read(readable, names)).any(axis=(0, 1)))
    return None if valid.all() else valid


def run_folder(config: ExperimentConfig) -> Path:
    """Where a run's files go."""
    return Path(config.output) / config.name


def fit(
    config: ExperimentConfig,
    folder: Path | None = None,
    resume: Resume = "never",
    progress: bool = True,
) -> TrainedEmulator:
    """Fit the experiment's emulator and return the best by validation rollout.

    The folder gets config.yaml, metrics.csv, last.ckpt and emulator.safetensors, each written whole.

    resume: `auto` starts, continues, or returns what is done; `never` refuses a folder that holds a run.
    Raises MeshcastError where the folder holds another experiment.
    """
    folder = folder or run_folder(config)
    done = _claim(folder, config, resume)
    if done is not None:
        return done
    prepared = prepare(config)
    if is_closed_form(config.emulator):
        trained = _fit_closed_form(prepared)
        if is_first_process():
            save_emulator(folder / "emulator.safetensors", trained)
    else:
        trained = _fit_network(prepared, folder, resume, progress)
    _mark_done(folder, trained)
    return trained


def describe_training(prepared: Prepared) -> dict[str, Any]:
    """What a checkpoint says of its training: where from, on what, how split."""
    fields = prepared.train
    return {
        "experiment": resolve(prepared.config),
        "dataset": {
            "source": fields.source,
            "attributes": dict(fields.attributes),
            "variables": list(fields.variables),
            "first": int(fields.times[0]),
            "last": int(fields.times[-1]),
            "fingerprint": fingerprint(fields),
        },
    }


def fingerprint(fields: Fields) -> str:
    """A hash of names, places, times and a sample of the values: the same data give the same, wherever stored."""
    import hashlib

    digest = hashlib.sha256(json.dumps([fields.variables, fields.units, fields.ensemble_size]).encode())
    digest.update(np.ascontiguousarray(fields.times).tobytes())
    digest.update(np.ascontiguousarray(fields.mesh.positions.round(6)).tobytes())
    readable = [index for index in range(len(fields.times)) if index not in fields.missing]
    for index in np.unique(np.linspace(0, len(readable) - 1, 16).round().astype(int)):
        time_index = np.array([readable[index]])
        digest.update(np.ascontiguousarray(fields.read(time_index, fields.variables)).tobytes())
    return digest.hexdigest()[:16]


# Run folders ----------------------------------------------------------------------------------------------------------


def _claim(folder: Path, config: ExperimentConfig, resume: Resume) -> TrainedEmulator | None:
    """Make the folder this run's own; the finished emulator where there is nothing left to do."""
    if not is_first_process():  # the first one has checked, and made the folder
        return None
    stored = folder / "config.yaml"
    begun = any((folder / name).exists() for name in ("emulator.safetensors", "last.ckpt"))
    if begun and not stored.is_file():
        raise MeshcastError(f"{folder} holds an emulator without its config.yaml. Choose another name or output.")
    changed = _changes(stored, config) if stored.is_file() else []
    if not begun:  # nothing yet, or a run that failed before it came to anything
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if changed:
                (folder / "budget.json").unlink(missing_ok=True)
        except OSError as error:
            raise MeshcastError(f"Cannot make the run folder {folder}: {error.strerror}. Set output=FOLDER.") from None
        dump(config, stored)
        return None
    if resume == "never":
        raise MeshcastError(
            f"{folder} already holds a run. Continue it with resume=auto, or choose another name: name=NAME."
        )
    if changed:
        raise MeshcastError(
            f"{folder} holds a run of another configuration; {', '.join(changed)} differ. "
            "Use the configuration in its config.yaml, or choose another name."
        )
    if (folder / "done.json").is_file():
        log.info("%s is done.", folder)
        return load_emulator(folder / "emulator.safetensors")
    return None


def _changes(stored: Path, config: ExperimentConfig) -> list[str]:
    """Sections that differ from the stored configuration; where a run is tracked changes nothing in it."""
    before, now = resolve(load(ExperimentConfig, stored)), resolve(config)
    return [key for key in now if before[key] != now[key] and key != "tracking"]


def is_first_process() -> bool:
    """False in the further processes of a distributed run, which write nothing."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def _mark_done(folder: Path, trained: TrainedEmulator) -> None:
    if not is_first_process():
        return
    with atomic_file(folder / "done.json") as part:
        part.write_text(json.dumps({"validation_score": trained.metadata.get("validation_score")}))


# Closed forms ---------------------------------------------------------------------------------------------------------


def _fit_closed_form(prepared: Prepared) -> TrainedEmulator:
    config = prepared.config
    assert not isinstance(config.emulator, GNNConfig)
    emulator = fit_closed_form(config.emulator, prepared.task, prepared.part)
    metadata = describe_training(prepared)
    return TrainedEmulator(config.name, emulator, config.emulator, prepared.statistics, metadata, prepared.valid)


# Networks -------------------------------------------------------------------------------------------------------------


def initial_network(prepared: Prepared, windows: Windows) -> tuple[NeuralEmulator, GNNConfig | PluginConfig]:
    """The untrained emulator of an experiment, and its configuration with the first guess resolved.

    Its weights are drawn from the seed; scales and first guess are fitted on the training part.
    """
    config, task = prepared.config, prepared.task
    section = config.emulator
    assert isinstance(section, GNNConfig | PluginConfig)
    part = prepared.part
    ridge = fit_ridge(section.first_guess, task, part)
    section = replace(section, first_guess=resolved(section.first_guess, ridge))
    further = node_statistics(part, task) if section.node_statistics else None
    num_statics = len(task.static) + (0 if further is None else further.shape[1])
    torch.manual_seed(config.training.seed)
    emulator = build_network(section, task, prepared.train.mesh, num_statics)
    emulator.inputs.take(part, further)
    set_first_guess(emulator, ridge, windows, config.training.noise)
    return emulator, section


def windows_of(prepared: Prepared) -> tuple[Windows, Windows]:
    """Training windows with noise, and validation starts spread over the validation part."""
    config, task = prepared.config, prepared.task
    training, validation = config.training, config.validation
    train = Windows(prepared.train, task, training.unroll, prepared.forcings, training.seed, noisy=training.noise > 0)
    starts = Windows(prepared.validation, task, validation.steps, prepared.validation_forcings, most=validation.cases)
    return train, starts


def _fit_network(prepared: Prepared, folder: Path, resume: Resume, progress: bool) -> TrainedEmulator:
    from training.module import EmulatorModule

    with torch.random.fork_rng(devices=[]):
        windows, starts = windows_of(prepared)
        emulator, section = initial_network(prepared, windows)
        config = _with_budget(prepared, emulator, windows, starts, folder)
        module = EmulatorModule(emulator, windows, starts, config.training, config.validation)
        _run_lightning(prepared, replace(config, emulator=section), module, folder, progress)
    return load_emulator(folder / "emulator.safetensors")


def _with_budget(
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
    from copy import deepcopy

    from training.module import EmulatorModule

    module = EmulatorModule(deepcopy(emulator), windows, starts, config.training, config.validation)
    optimiser = torch.optim.AdamW(module.emulator.parameters())
    size = config.training.batch_size
    seconds = []
    start = time.perf_counter()
    for batch in DataLoader(windows, batch_size=size, sampler=ShuffledStream(len(windows), size, updates + 2, 0)):
        optimiser.zero_grad()
        module.loss(batch).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return float(np.median(seconds[2:] or seconds))


def _run_lightning(prepared: Prepared, config: ExperimentConfig, module: Any, folder: Path, progress: bool) -> None:
    import lightning as L

    from training.callbacks import CsvLog, KeepCheckpoints, Progress
    from training.datamodule import WindowData
    from training.tracking import end_tracking, tracking_loggers

    training = config.training
    last = folder / "last.ckpt"
    start = updates_done(last)
    description = describe_training(prepared)

    def keep(module: Any, score: float, update: int) -> None:
        metadata = {**description, "validation_score": _finite(score), "update": update}
        best = TrainedEmulator(
            config.name, module.averaged, config.emulator, prepared.statistics, metadata, prepared.valid
        )
        save_emulator(folder / "emulator.safetensors", best)

    loggers, pictures = tracking_loggers(config, folder)
    with _quiet():
        trainer = L.Trainer(
            max_steps=training.updates,
            max_epochs=-1,
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.num_nodes,
            strategy=training.strategy,
            precision=training.precision,  # type: ignore[arg-type]
            gradient_clip_val=training.gradient_clip,
            val_check_interval=config.validation.every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=-1,
            callbacks=[
                CsvLog(folder / "metrics.csv", len(module.windows), start),
                KeepCheckpoints(folder, keep),
                *([Progress()] if progress else []),
                *pictures,
            ],
            logger=loggers,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            use_distributed_sampler=False,  # ours know their rank, and repeat no sample
            default_root_dir=folder,
            log_every_n_steps=10,
        )
        data = WindowData(module.windows, module.validation_windows, training, start)
        try:
            with _interruptible():
                trainer.fit(module, datamodule=data, ckpt_path=str(last) if start else None, weights_only=True)
        finally:
            end_tracking(loggers, failed=trainer.interrupted)
        trainer.strategy.barrier()


def updates_done(checkpoint: Path) -> int:
    """Updates a resumable checkpoint has behind it, 0 without one. Nothing in the file is executed."""
    if not checkpoint.is_file():
        return 0
    try:
        return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"])
    except Exception as error:
        raise MeshcastError(
            f"{checkpoint} cannot be resumed from: it is truncated, or no checkpoint of tensors and plain values "
            f"({type(error).__name__}). Remove it to start the run again."
        ) from None


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Leave an interrupt to the caller: Lightning turns it into an exit, and has the process ignore any further one."""
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if main_thread and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its advice: what it would warn of is decided here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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
        "peak memory [MB]": round(_peak_memory() / 1e6),
        "run folder": str(run_folder(config)),
    }


def _peak_memory() -> float:
    """Bytes this process has held at most: of the GPU where it trains on one, else of main memory."""
    import resource
    import sys

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
