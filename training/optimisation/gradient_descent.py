"""Gradient descent on Lightning, into a run folder."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins import TorchCheckpointIO
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
    ForecastPicture,
    KeepCheckpoints,
    Progress,
    Stopwatch,
    progress_callback,
)
from training.optimisation.long_rollout import long_rollout
from training.optimisation.module import EmulatorModule
from training.optimisation.standstill import has_ended
from training.optimisation.tracking import tracking
from training.optimisation.validation import save_best
from training.preparation.first_guess import Untrained
from training.preparation.prepared import Prepared
from training.preparation.read_ahead import loader_of
from training.preparation.windows import Batch, ShuffledStream, Windows
from training.resumable import read_checkpoint, resume_from, write_checkpoint


def train(prepared: Prepared, untrained: Untrained, folder: Path, progress: bool, request: StopRequest) -> None:
    """Take the updates that are left; last.ckpt, metrics.csv and the best emulator so far go to the folder.

    request: of a signal that the training end; it is then kept as it is, and Stopped raised.
    """
    config, windows = untrained.config, untrained.windows
    last, start = resume_from(folder)
    if last is not None and config.training.patience is not None and has_ended(read_checkpoint(last)):
        return  # it was interrupted between its last checkpoint and the end
    starts, long = untrained.starts, long_rollout(prepared, untrained.starts, config)
    module = EmulatorModule(
        untrained.emulator, windows, starts, config.training, config.validation, long, untrained.terms
    )

    log = MetricsLog(folder / "metrics.csv", len(windows), start)
    keep = partial(save_best, prepared, config.emulator, folder)
    with _quiet(), _interruptible(), tracking(config, folder) as logger:
        callbacks = [CsvLog(log), KeepCheckpoints(folder, config.training.checkpoints, keep, request)]
        callbacks += [ForecastPicture()] if logger else []
        callbacks += [progress_callback()] if progress else []
        trainer = _trainer(config, logger, callbacks)
        data = WindowData(windows, untrained.starts, config.training, start)
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last else None, weights_only=True)
        request.waits = False
        trainer.strategy.barrier()


def rehearse(untrained: Untrained, updates: int) -> tuple[list[float], float]:
    """Return the working seconds of some updates, reading included, and of a validation; nothing is written."""
    config = untrained.config
    one_device = replace(config.training, updates=updates, devices=1, num_nodes=1, strategy="auto")
    config = replace(config, training=one_device, validation=replace(config.validation, every=updates))
    emulator, windows, starts = deepcopy(untrained.emulator), untrained.windows, untrained.starts
    module = EmulatorModule(emulator, windows, starts, one_device, config.validation, terms=untrained.terms)
    stopwatch = Stopwatch()
    with _quiet(), _interruptible():
        trainer = _trainer(config, False, [stopwatch])
        trainer.fit(module, datamodule=WindowData(windows, starts, one_device, 0))
    return stopwatch.updates, stopwatch.validation


class WindowData(L.LightningDataModule):
    """Training windows in a shuffled stream that starts at `start` updates, and validation starts taken once each."""

    def __init__(self, windows: Windows, starts: Windows, config: TrainingConfig, start: int) -> None:
        super().__init__()
        self.windows, self.starts, self.config, self.start = windows, starts, config, start

    def train_dataloader(self) -> DataLoader[Batch]:
        config, rank, ranks = self.config, *self._rank()
        stream = ShuffledStream(
            len(self.windows), config.batch_size, config.updates, config.seed, self.start, rank, ranks
        )
        loader = DataLoader if config.num_workers else loader_of(self.windows.fields)
        return loader(self.windows, batch_size=config.batch_size, sampler=stream, num_workers=config.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        rank, ranks = self._rank()
        if len(self.starts) < ranks:
            raise MeshcastError(
                f"{ranks} processes validate on {len(self.starts)} starts, but each needs one. Set validation.cases to "
                f"{ranks} or more, give a longer validation part, or use fewer devices."
            )
        share = range(rank, len(self.starts), ranks)
        return DataLoader(self.starts, batch_size=min(self.config.batch_size, 16), sampler=share)

    def _rank(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size


def _trainer(config: ExperimentConfig, loggers: Any, callbacks: list[L.Callback]) -> L.Trainer:
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
            val_check_interval=config.validation.every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=-1,
            callbacks=callbacks,
            logger=loggers,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, Progress) for callback in callbacks),
            use_distributed_sampler=False,  # ours know their rank, and repeat no sample
            log_every_n_steps=10,
        )
        # Its handlers end a training without a checkpoint, and wait within a signal for processes that may not answer.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        return trainer
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise MeshcastError(
            f"Lightning cannot train with accelerator={training.accelerator}, devices={training.devices}, "
            f"num_nodes={training.num_nodes}, strategy={training.strategy}, precision={training.precision}: {error}"
        ) from None


class PlainFiles(TorchCheckpointIO):
    """Writes a checkpoint where it is told to.

    Lightning's own way leads through the folder for temporary files, whose faults it lays on the run's or, where
    something may not be written, keeps to itself.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_checkpoint(checkpoint, Path(path))


def _plugins(training: TrainingConfig) -> list[Any]:
    sharded = any(name in training.strategy for name in ("fsdp", "deepspeed"))  # these write theirs themselves
    alone = training.devices == training.num_nodes == 1
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
