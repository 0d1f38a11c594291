"""Gradient descent on Lightning, into a run folder."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from emulator.foundation.freed_memory import keep_freed_memory
from graphs.errors import MeshcastError
from training.early_end import StopRequest
from training.experiment import ExperimentConfig, TrainingConfig
from training.metrics_log import MetricsLog
from training.optimisation.callbacks import (
    CsvLog,
    FollowedByTrackers,
    ForecastPicture,
    KeepCheckpoints,
    Progress,
    Stopwatch,
    progress_callback,
)
from training.optimisation.checkpoint_files import PlainFiles
from training.optimisation.long_rollout import long_rollout
from training.optimisation.lost_processes import LostProcesses, leave_time_to_end
from training.optimisation.machine import Rehearsal
from training.optimisation.module import EmulatorModule
from training.optimisation.standstill import has_ended
from training.optimisation.update_losses import UpdateLosses
from training.optimisation.validation import save_best
from training.preparation.first_guess import Untrained
from training.preparation.prepared import Prepared
from training.preparation.read_ahead import loader_of
from training.preparation.windows import Batch, ShuffledStream, Windows
from training.processes import decided, started_by
from training.resumable import read_checkpoint, resume_from
from training.shards import data_ranks
from training.tracking.record import RunRecord

SEEN_WITHIN = 60.0  # seconds in which a shared file system shows a file on all nodes


def train(
    prepared: Prepared, untrained: Untrained, folder: Path, progress: bool, request: StopRequest, record: RunRecord
) -> None:
    """Take the updates that are left; last.ckpt, metrics.csv and the best emulator so far go to the folder.

    request: of a signal that the training end; it is then kept as it is, and Stopped raised.
    record: follows the log, and has the forecast of each validation drawn.
    """
    config, windows = untrained.config, untrained.windows
    last, start = resumed_from(folder)
    log = MetricsLog(folder / "metrics.csv", len(windows), start)
    record.follow(log, start)
    if last is not None and config.training.patience is not None and has_ended(read_checkpoint(last)):
        return  # it was interrupted between its last checkpoint and the end
    starts, long = untrained.starts, long_rollout(prepared, untrained.starts, config)
    module = EmulatorModule(
        untrained.emulator, windows, starts, config.training, config.validation, long, untrained.terms
    )

    keep = partial(save_best, prepared, config.emulator, folder)
    with _quiet(), _interruptible():
        losses, lost = UpdateLosses(), LostProcesses()
        callbacks: list[L.Callback] = [lost, CsvLog(log, losses)]
        callbacks += [ForecastPicture(record)] if record else []
        callbacks += [KeepCheckpoints(folder, config.training.checkpoints, keep, request, losses)]
        callbacks += [FollowedByTrackers(record, log)] if record else []
        callbacks += [progress_callback()] if progress else []
        trainer = _trainer(config, callbacks)
        data = WindowData(windows, untrained.starts, config.training, start)
        trainer.precision_plugin.convert_module(module)  # Lightning does so once it has read a checkpoint: rounded
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last else None, weights_only=True)
        request.waits = False
        try:
            trainer.strategy.barrier()
        except RuntimeError as error:
            lost.raise_lost(error)
            raise
        lost.close()


def resumed_from(folder: Path) -> tuple[Path | None, int]:
    """Return the checkpoint that a run goes on from, the same in all processes, and the updates behind it."""
    found = decided(lambda: _newest(folder)) or _newest(folder)
    path = None if found["name"] is None else folder / found["name"]
    until = time.monotonic() + SEEN_WITHIN
    while path is not None and not (path.is_file() and path.stat().st_size == found["bytes"]):
        if time.monotonic() > until:
            raise MeshcastError(
                f"{path} cannot be seen on {socket.gethostname()} as the first process sees it. Let output name a "
                "folder on a file system that all nodes share."
            )
        time.sleep(0.2)
    return path, found["updates"]


def _newest(folder: Path) -> dict[str, Any]:
    path, updates = resume_from(folder)
    return {"name": path and path.name, "bytes": path and path.stat().st_size, "updates": updates}


def rehearse(untrained: Untrained, updates: int, most: float = math.inf) -> Rehearsal:
    """Return what some updates and a validation take; nothing is written.

    most: seconds of the clock after which the updates that have been taken are enough.
    """
    config = untrained.config
    if config.training.shards > 1:
        raise MeshcastError(
            f"Updates of a graph split over {config.training.shards} processes cannot be timed by one of them. Look at "
            "the whole graph, with training.shards=1, or train a few updates."
        )
    one_device = replace(config.training.on_one_process(), updates=updates)
    config = replace(config, training=one_device, validation=replace(config.validation, every=updates))
    emulator, windows, starts = deepcopy(untrained.emulator), untrained.windows, untrained.starts
    module = EmulatorModule(emulator, windows, starts, one_device, config.validation, terms=untrained.terms)
    stopwatch = Stopwatch(most)
    with _quiet(), _interruptible():
        trainer = _trainer(config, [stopwatch])
        trainer.fit(module, datamodule=WindowData(windows, starts, one_device, 0))
    return stopwatch.rehearsal


def try_out(untrained: Untrained, training: TrainingConfig, callbacks: list[L.Callback]) -> None:
    """Take the updates of a training on a copy that is thrown away, without validations; nothing is written."""
    config = replace(untrained.config, training=training)
    emulator, windows, starts = deepcopy(untrained.emulator), untrained.windows, untrained.starts
    module = EmulatorModule(emulator, windows, starts, training, config.validation, terms=untrained.terms)
    with _quiet(), _interruptible():
        trainer = _trainer(config, callbacks)
        trainer.limit_val_batches, trainer.num_sanity_val_steps = 0, 0
        trainer.fit(module, datamodule=WindowData(windows, starts, training, 0))


class WindowData(L.LightningDataModule):
    """Training windows in a shuffled stream that starts at `start` updates, and validation starts taken once each."""

    def __init__(self, windows: Windows, starts: Windows, config: TrainingConfig, start: int) -> None:
        super().__init__()
        self.windows, self.starts, self.config, self.start = windows, starts, config, start

    def train_dataloader(self) -> DataLoader[Batch]:
        config, rank, ranks = self.config, *self._rank()
        stream = ShuffledStream(
            len(self.windows),
            config.process_batch,
            config.updates,
            config.seed,
            self.start,
            rank,
            ranks,
            config.accumulate,
        )
        loader = DataLoader if config.num_workers else loader_of(self.windows.fields)
        return loader(self.windows, batch_size=config.process_batch, sampler=stream, num_workers=config.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        rank, ranks = self._rank()
        if len(self.starts) < ranks:
            raise MeshcastError(
                f"{ranks} processes validate on {len(self.starts)} starts, but each needs one. Set validation.cases to "
                f"{ranks} or more, give a longer validation part, or use fewer devices."
            )
        share = range(rank, len(self.starts), ranks)
        return DataLoader(self.starts, batch_size=min(self.config.process_batch, 16), sampler=share)

    def _rank(self) -> tuple[int, int]:
        assert self.trainer is not None
        return data_ranks(self.trainer.global_rank, self.trainer.world_size, self.config.shards)


def _trainer(config: ExperimentConfig, callbacks: list[L.Callback]) -> L.Trainer:
    """Return Lightning's trainer.

    Raises MeshcastError where this machine has no such devices, or Lightning no such strategy or precision.
    """
    training = config.training
    keep_freed_memory()
    try:
        trainer = L.Trainer(
            max_steps=training.updates,
            max_epochs=-1,
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.num_nodes,
            strategy=training.strategy,
            precision=training.precision,  # type: ignore[arg-type]
            plugins=_plugins(training),
            gradient_clip_val=training.gradient_clip,
            accumulate_grad_batches=training.accumulate,
            val_check_interval=config.validation.every * training.accumulate,  # batches
            check_val_every_n_epoch=None,
            num_sanity_val_steps=-1,
            callbacks=callbacks,
            logger=False,  # trackers follow the run's own logs
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
            use_distributed_sampler=False,  # ours know their rank, and repeat no sample
        )
        if training.backend != "auto" and hasattr(trainer.strategy, "_process_group_backend"):
            trainer.strategy._process_group_backend = training.backend
        leave_time_to_end()
        # Its handlers end a training without a checkpoint, and wait within a signal for processes that may not answer.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        return trainer
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise MeshcastError(
            f"Lightning cannot train with accelerator={training.accelerator}, devices={training.devices}, "
            f"num_nodes={training.num_nodes}, strategy={training.strategy}, precision={training.precision}: {error}"
        ) from None


def _plugins(training: TrainingConfig) -> list[Any]:
    sharded = any(name in training.strategy for name in ("fsdp", "deepspeed"))  # these write theirs themselves
    in_batch_script = "SLURM_NTASKS" in os.environ and not started_by()[0]  # Lightning would wait for what srun starts
    alone = training.processes == 1 or in_batch_script
    return [*([] if sharded else [PlainFiles()]), *([LightningEnvironment()] if alone else [])]


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
