"""Fitting an emulator, closed form or by gradient descent, into a run folder."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from emulator.baselines.baseline import BaselineConfig
from emulator.build import TrainedEmulator, fit_closed_form, is_closed_form, load_emulator, save_emulator
from emulator.foundation.threads import Notice, num_threads
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.neural import NeuralEmulator
from emulator.plugins import PluginConfig
from training.experiment import ExperimentConfig
from training.preparation.first_guess import initial_network
from training.preparation.prepared import Prepared, PreparedData, describe_training, windows_of
from training.preparation.windows import Windows
from training.run_folder import Resume, is_first_process, mark_done, run_folder, take_folder
from training.runs.budget import dry_run, threads_of, with_budget

log = logging.getLogger(__name__)

__all__ = ["dry_run", "fit", "is_first_process", "run_folder"]


def fit(
    config: ExperimentConfig,
    folder: Path | None = None,
    resume: Resume = "never",
    progress: bool = True,
    data: PreparedData | None = None,
    notice: Notice = log.info,
) -> TrainedEmulator:
    """Fit the experiment's emulator and return the best by validation rollout.

    The folder gets config.yaml, metrics.csv, last.ckpt and emulator.safetensors, each written whole.

    resume: `auto` starts, continues, or returns what is done; `never` refuses a folder that holds a run.
    data: open already, where several experiments share them.
    notice: takes a line on the threads that were chosen.
    Raises MeshcastError where the folder holds another experiment.
    """
    folder = folder or run_folder(config)
    done = take_folder(folder, config, resume)
    if done is not None:
        return done
    prepared = (data or PreparedData()).prepare(config)
    if is_closed_form(config.emulator):
        trained = _fit_closed_form(prepared)
        if is_first_process():
            save_emulator(folder / "emulator.safetensors", trained)
    else:
        trained = _fit_network(prepared, folder, progress, notice)
    mark_done(folder, trained)
    return trained


def _fit_closed_form(prepared: Prepared) -> TrainedEmulator:
    config = prepared.config
    assert isinstance(config.emulator, BaselineConfig | PluginConfig)
    emulator = fit_closed_form(config.emulator, prepared.task, prepared.part)
    metadata = describe_training(prepared)
    return TrainedEmulator(config.name, emulator, config.emulator, prepared.statistics, metadata, prepared.valid)


def _fit_network(prepared: Prepared, folder: Path, progress: bool, notice: Notice) -> TrainedEmulator:
    with torch.random.fork_rng(devices=[]):
        windows, starts = windows_of(prepared)
        with num_threads(threads_of(prepared, windows, folder, notice)):
            emulator, section = initial_network(prepared, windows)
            config = replace(with_budget(prepared, emulator, windows, starts, folder), emulator=section)
            _train(prepared, config, (emulator, windows, starts), folder, progress)
    return load_emulator(folder / "emulator.safetensors")


def _train(
    prepared: Prepared,
    config: ExperimentConfig,
    untrained: tuple[NeuralEmulator, Windows, Windows],
    folder: Path,
    progress: bool,
) -> None:
    emulator, windows, starts = untrained
    # Either library takes seconds to import, which a closed form should not wait for.
    if isinstance(config.emulator, KerasConfig):
        from training.optimisation import keras_training

        keras_training.train(prepared, config, emulator, windows, starts, folder, progress)
    else:
        from training.optimisation import gradient_descent
        from training.optimisation.module import EmulatorModule

        module = EmulatorModule(emulator, windows, starts, config.training, config.validation)
        gradient_descent.train(prepared, config, module, folder, progress)
