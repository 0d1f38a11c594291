"""Fitting an emulator, closed form or by gradient descent, into a run folder."""

from __future__ import annotations

import logging
from pathlib import Path

from emulator.baselines.baseline import BaselineConfig
from emulator.build import TrainedEmulator, fit_closed_form, is_closed_form, load_emulator, save_emulator
from emulator.foundation.threads import Notice
from emulator.plugins import PluginConfig
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.run_folder import Resume, is_first_process, mark_done, run_folder, take_folder
from training.runs.budget import loop_of, untrained_on_threads, with_budget

log = logging.getLogger(__name__)


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
    path = folder / "emulator.safetensors"
    if is_closed_form(config.emulator):
        assert isinstance(config.emulator, BaselineConfig | PluginConfig)
        emulator = fit_closed_form(config.emulator, prepared.task, prepared.part)
        trained = prepared.trained(emulator, config.emulator)
        if is_first_process():
            save_emulator(path, trained)
    else:
        with untrained_on_threads(prepared, folder, notice) as untrained:
            loop_of(config).train(prepared, with_budget(untrained, folder), folder, progress)
        trained = load_emulator(path)
    mark_done(folder, trained)
    return trained
