"""Fitting an emulator, closed form or by gradient descent, into a run folder; and what a fit takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from emulator.baselines.baseline import BaselineConfig
from emulator.build import TrainedEmulator, fit_closed_form, is_closed_form, load_emulator, save_emulator
from emulator.foundation.threads import Notice, faster_threads, num_threads, threads_given
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.neural import NeuralEmulator
from emulator.plugins import PluginConfig
from graphs.errors import MeshcastError
from graphs.output_lock import output_lock
from training.early_end import Stopped, StopRequest, Watch, stop_requests
from training.experiment import ExperimentConfig, TrainingConfig
from training.preparation.data_checks import keep_data
from training.preparation.first_guess import Untrained, initial_network, unfitted_network, updates_in_memory
from training.preparation.initial_weights import start_weights
from training.preparation.loss_terms import loss_terms
from training.preparation.prepared import (
    Prepared,
    PreparedData,
    look_at_test_data,
    refuse_unfit_data,
    windows_of,
)
from training.preparation.windows import Windows
from training.processes import decided, is_first_process, leave_together, sharing
from training.resumable import checkpoints_of, updates_done
from training.run_folder import Resume, mark_done, run_folder, take_folder
from training.runs.between import refuse_nothing_between, with_between
from training.runs.budget import add_to_budget, keep_budget, read_budget, say_what_never_comes, within_budget
from training.runs.closed_forms import score_closed_forms
from training.runs.energy import metered
from training.runs.methods import Machine, write_methods
from training.runs.scenario_test import refuse_untestable, with_scenario_test
from training.runs.tracked_fit import bring_up_to_date, say_finished, tracked_fit
from training.runs.variability import with_variability
from training.shards import group_of
from training.tracking.record import RunRecord

log = logging.getLogger(__name__)

TIMED_UPDATES = 20
WARM_UP = 2  # the first updates are slow: memory is allocated, kernels are chosen


def fit(
    config: ExperimentConfig,
    folder: Path | None = None,
    resume: Resume = "never",
    progress: bool = True,
    data: PreparedData | None = None,
    notice: Notice = log.info,
    watch: Watch | None = None,
) -> TrainedEmulator:
    """Fit the experiment's emulator and return the best by validation rollout.

    The folder gets config.yaml, metrics.csv, last.ckpt and emulator.safetensors, each written whole, and of a network
    closed_forms.json, what closed forms score where it was validated; energy.json, and methods.md with references.bib.

    resume: `auto` starts, continues, or returns what is done; `never` refuses a folder that holds a run.
    data: open already, where several experiments share them.
    notice: takes a line on the threads that were chosen, and on counts that a short budget changes.
    watch: looks at each validation, and may end the fit by PrunedError; see `StopRequest`.
    Raises MeshcastError where the folder holds another experiment, another process fits into it, or the training
    diverges. SIGTERM, SIGHUP and SIGUSR1 end it with its state kept and exit code 128 + signal; a second one at once.
    """
    folder = folder or run_folder(config)
    with sharing(config.training), ExitStack() as held:

        def take() -> bool:  # the first process holds the folder for all
            held.enter_context(output_lock(folder, folder=True, remedy="Set output=FOLDER."))
            return take_folder(folder, config, resume, notice)

        done = decided(take)
        if done or (done is None and (folder / "done.json").is_file()):
            trained = load_emulator(folder / "emulator.safetensors")
            bring_up_to_date(config, folder, data, trained, notice)
            return trained
        return _fitted(config, folder, progress, data or PreparedData(), notice, watch)


def _fitted(
    config: ExperimentConfig, folder: Path, progress: bool, data: PreparedData, notice: Notice, watch: Watch | None
) -> TrainedEmulator:
    with (
        stop_requests(config.training.max_time) as request,
        tracked_fit(config, folder, data, notice) as record,
    ):
        request.watch = watch or request.watch
        with metered(config, folder):
            try:
                trained = _trained(config, folder, data, progress, notice, request, record)
            except Stopped as stop:
                _say_stopped(stop, folder, notice)
                raise
        if is_first_process():
            _write_methods(data.prepare(config), trained, folder)
        decided(lambda: mark_done(folder, trained))  # for which the others wait, as long as the first one works
        leave_together()
        say_finished(record, folder, trained)
    return trained


def _trained(
    config: ExperimentConfig,
    folder: Path,
    data: PreparedData,
    progress: bool,
    notice: Notice,
    request: StopRequest,
    record: RunRecord,
) -> TrainedEmulator:
    prepared, path = data.prepare(config), folder / "emulator.safetensors"
    refuse_nothing_between(prepared)
    refuse_untestable(prepared)
    for line in (*look_at_test_data(prepared), *_batches_in_words(config.training)):
        notice(line) if is_first_process() else None
    if not is_closed_form(config.emulator):
        with updates_in_memory(prepared), untrained_on_threads(prepared, folder, notice) as untrained:
            if is_first_process():
                keep_data(folder, bool(checkpoints_of(folder)), prepared.description(data))
            budgeted = with_budget(untrained, folder, notice)
            loop_of(config).train(prepared, budgeted, folder, progress, request, record)
        if config.training.patience is not None and is_first_process():
            _say_ended(folder, budgeted.config.training, notice)
        trained = load_emulator(path)
        if config.between is not None and is_first_process():
            trained = with_between(prepared, trained, folder, notice)
        if config.variability is not None and is_first_process():
            trained = with_scenario_test(prepared, with_variability(prepared, trained))
        if is_first_process() and (config.between is not None or config.variability is not None):
            save_emulator(path, trained)
        if is_first_process() and isinstance(trained.emulator, NeuralEmulator):
            score_closed_forms(prepared, windows_of(prepared)[1], trained.emulator, folder)
        return trained
    assert isinstance(config.emulator, BaselineConfig | PluginConfig)
    emulator = fit_closed_form(config.emulator, prepared.task, prepared.part)
    trained = prepared.trained(emulator, config.emulator)
    if config.variability is not None:
        trained = with_scenario_test(prepared, with_variability(prepared, trained))
    if is_first_process():
        save_emulator(path, trained)
    return trained


def _batches_in_words(training: TrainingConfig) -> list[str]:
    if training.global_batch_size is None:
        return []
    batches = f"{training.accumulate} batch" + "es" * (training.accumulate > 1)
    samples = f"{training.process_batch} sample" + "s" * (training.process_batch > 1)
    shares = f"{training.graphs_in_words} x {batches} x {samples}"
    return [f"An update takes {training.global_batch_size} samples: {shares}."]


def _write_methods(prepared: Prepared, trained: TrainedEmulator, folder: Path) -> None:
    config = prepared.config
    if config.training.minutes is not None and not is_closed_form(config.emulator):
        config = within_budget(config, folder, log.debug)
    threads = threads_given(config.training.threads) or int(read_budget(folder).get("threads", torch.get_num_threads()))
    processes = 1 if is_closed_form(config.emulator) else config.training.devices * config.training.num_nodes
    write_methods(replace(prepared, config=config), trained, folder, Machine(threads, processes))


def refuse_strategies_of_closed_form(config: ExperimentConfig) -> None:
    """Raise MeshcastError where an emulator without gradient descent is given strategies of one."""
    if is_closed_form(config.emulator) and (found := config.training.strategies_set()):
        raise MeshcastError(
            f"A {config.emulator.kind} is fitted in closed form, and takes no update. This asks for "
            f"{', '.join(found)}. Remove what it asks for, or train a network."
        )


def _say_ended(folder: Path, training: TrainingConfig, notice: Notice) -> None:
    if (taken := updates_done(folder / "last.ckpt")) < training.updates:
        notice(f"Ended after {taken:,} updates: the last {training.patience} validations were no better.")


def _say_stopped(stop: Stopped, folder: Path, notice: Notice) -> None:
    if not is_first_process():
        stop.code = 0  # the first process's code is the run's, and another's failure would have Lightning kill it
        return
    kept = f"{folder / 'last.ckpt'} keeps update {stop.update}" if stop.update else "nothing new was learned yet"
    notice(f"Ended by {stop.cause}; {kept}. Started again with resume=auto, it goes on from there.")


@contextmanager
def untrained_on_threads(
    prepared: Prepared, folder: Path | None = None, notice: Notice = log.info
) -> Iterator[Untrained]:
    """Yield the untrained network of an experiment, to be used within the block, on the threads that its run takes.

    The global generator is left as it was. folder, notice: see `threads_of`.
    """
    with torch.random.fork_rng(devices=[]):
        windows, starts = windows_of(prepared)
        refuse_unfit_data(prepared, starts)
        with num_threads(threads_of(prepared, windows, folder, notice)):
            emulator, section = initial_network(prepared, windows)
            begun = folder is not None and bool(checkpoints_of(folder))
            told = notice if is_first_process() else log.debug
            start_weights(emulator, section, prepared.config.training, not begun, told)
            terms = loss_terms(prepared, emulator, windows)
            if (group := group_of(prepared.config.training)) is not None:  # all is measured, of all nodes
                nodes = emulator.hold(group)
                terms.hold(nodes)
                windows, starts = windows.of_nodes(nodes), starts.of_nodes(nodes)
            yield Untrained(replace(prepared.config, emulator=section), emulator, windows, starts, terms)


def with_budget(untrained: Untrained, folder: Path, notice: Notice = log.info) -> Untrained:
    """Return it with minutes turned into updates, once: the number is saved and used again on resume.

    notice: takes a line on counts that follow a short budget, or that never come.
    """
    config = untrained.config
    if config.training.minutes is None:
        if is_first_process():
            say_what_never_comes(config, notice)
        return untrained

    def keep() -> None:
        if "updates" not in read_budget(folder):
            keep_budget(folder, config, *time_parts(untrained))

    decided(keep)
    while "updates" not in read_budget(folder):
        time.sleep(0.1)  # all processes take the same number of updates, which the first one finds out
    return replace(untrained, config=within_budget(config, folder, notice if is_first_process() else log.info))


def threads_of(prepared: Prepared, windows: Windows, folder: Path | None = None, notice: Notice = log.info) -> int:
    """Return the threads of PyTorch that a run takes, and TensorFlow with it, where no other run has begun it.

    By default they are measured, by the gradients of one batch before anything is fitted, and saved with the budget
    for when the run is resumed. Processes that share a machine share its threads; on a GPU nothing is measured.

    folder: of the run; without one, as to time updates, nothing is read from it or saved.
    notice: takes a line that says what was measured.
    """
    training, every = prepared.config.training, torch.get_num_threads()
    if (threads := threads_given(training.threads)) is not None:
        return threads
    if training.devices * training.num_nodes > 1:
        return max(1, every // training.devices)
    if training.accelerator != "cpu" and torch.cuda.is_available():
        return every
    if folder is not None and "threads" in read_budget(folder):
        return int(read_budget(folder)["threads"])
    from training.optimisation.module import EmulatorModule

    with torch.random.fork_rng(devices=[]):  # so that measuring changes no number drawn later
        module = EmulatorModule(unfitted_network(prepared), windows, windows, training, prepared.config.validation)
        batch = next(iter(DataLoader(windows, batch_size=training.process_batch)))
        threads = faster_threads(lambda: module.loss(batch).backward(), notice)
    if folder is not None:
        add_to_budget(folder, threads=threads)
    return threads


def threads_of_run(run: Mapping[str, Any] | None, results: Path | str) -> int:
    """Return the threads that a finished run was configured with or has measured, else those of this process.

    run: what a file in the folder `results` holds of it; None where nothing was run.
    """
    if run is None:
        return torch.get_num_threads()
    threads = threads_given(run["config"]["training"].get("threads"))
    return threads or int(read_budget(Path(results) / run["folder"]).get("threads", torch.get_num_threads()))


def time_updates(untrained: Untrained, updates: int = TIMED_UPDATES) -> float:
    """Return the seconds an update takes, reading and its share of a validation included, on copies thrown away.

    Processor seconds of all threads, or the clock's on a GPU; the mean over the stages of a curriculum.
    """
    update, validation = time_parts(untrained, updates)
    return update + validation / untrained.config.validation.every


def time_parts(untrained: Untrained, updates: int = TIMED_UPDATES) -> tuple[float, float]:
    """Return the seconds of an update and of a validation; see `time_updates`."""
    config, seconds = untrained.config, 0.0
    for share, unroll in stages_by_length(config.training):
        training = replace(config.training, unroll=unroll, curriculum=(), random_unroll=False, plateau=None)
        stage = replace(untrained, config=replace(config, training=training))
        rehearsal = loop_of(config).rehearse(stage, updates + WARM_UP)
        seconds += share * float(np.median([lap.working for lap in rehearsal.updates[WARM_UP:]]))
    return seconds, rehearsal.validation.working


def stages_by_length(training: TrainingConfig) -> Sequence[tuple[float, int]]:
    """Return shares of the updates and their unroll; half of those that are drawn count as one step, so that the mean
    time, which grows with each step by the same, is the drawn ones'."""
    if not training.random_unroll:
        return training.stages
    return [(share / 2, steps) for share, unroll in training.stages for steps in (1, unroll)]


def loop_of(config: ExperimentConfig) -> ModuleType:
    """Return the module that trains a network, imported late: either library takes seconds, which others need not."""
    if isinstance(config.emulator, KerasConfig):
        from training.optimisation import keras_training

        return keras_training
    from training.optimisation import gradient_descent

    return gradient_descent
