"""Gradient descent on Lightning, into a run folder."""

from __future__ import annotations

import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from emulator.build import TrainedEmulator, save_emulator
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.optimisation.callbacks import CsvLog, KeepCheckpoints, Progress, Stopwatch
from training.optimisation.heap import keep_freed_memory
from training.optimisation.module import EmulatorModule
from training.optimisation.tracking import tracking
from training.preparation.datamodule import WindowData
from training.preparation.prepared import Prepared, describe_training
from training.run_folder import updates_done


def train(prepared: Prepared, config: ExperimentConfig, module: EmulatorModule, folder: Path, progress: bool) -> None:
    """Take the updates that are left; last.ckpt, metrics.csv and the best emulator so far go to the folder.

    config: with the first guess and the updates resolved.
    """
    training = config.training
    last = folder / "last.ckpt"
    start = updates_done(last)
    description = describe_training(prepared)

    def keep(module: EmulatorModule, score: float, update: int) -> None:
        metadata = {**description, "validation_score": _finite(score), "update": update}
        best = TrainedEmulator(
            config.name, module.averaged, config.emulator, prepared.statistics, metadata, prepared.valid
        )
        save_emulator(folder / "emulator.safetensors", best)

    callbacks = [CsvLog(folder / "metrics.csv", len(module.windows), start), KeepCheckpoints(folder, keep)]
    with _quiet(), tracking(config, folder) as (loggers, pictures):
        trainer = _trainer(config, loggers, [*callbacks, *pictures, *([Progress()] if progress else [])])
        data = WindowData(module.windows, module.validation_windows, training, start)
        with _interruptible():
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if start else None, weights_only=True)
        trainer.strategy.barrier()


def rehearse(config: ExperimentConfig, module: EmulatorModule, updates: int) -> Stopwatch:
    """Return the times of some updates and a validation on one device, as `train` runs them; nothing is written."""
    one_device = replace(config.training, updates=updates, devices=1, num_nodes=1, strategy="auto")
    validation = replace(config.validation, every=updates)
    stopwatch = Stopwatch()
    with _quiet(), _interruptible():
        trainer = _trainer(replace(config, training=one_device, validation=validation), False, [stopwatch])
        trainer.fit(module, datamodule=WindowData(module.windows, module.validation_windows, one_device, 0))
    return stopwatch


def _trainer(config: ExperimentConfig, loggers: Any, callbacks: list[L.Callback]) -> L.Trainer:
    """Return Lightning's trainer.

    Raises MeshcastError where this machine has no such devices, or Lightning no such strategy or precision.
    """
    training = config.training
    keep_freed_memory()
    try:
        return L.Trainer(
            max_steps=training.updates,
            max_epochs=-1,
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.num_nodes,
            strategy=training.strategy,
            precision=training.precision,  # type: ignore[arg-type]
            plugins=LightningEnvironment() if training.devices == training.num_nodes == 1 else None,
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
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise MeshcastError(
            f"Lightning cannot train with accelerator={training.accelerator}, devices={training.devices}, "
            f"num_nodes={training.num_nodes}, strategy={training.strategy}, precision={training.precision}: {error}"
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
