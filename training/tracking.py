"""Weights & Biases, by configuration: the resolved configuration, the metrics, and a forecast's picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emulator.configuration import resolve
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig


def tracking_loggers(config: ExperimentConfig, folder: Path) -> tuple[Any, list[Any]]:
    """Lightning loggers and picture callbacks of a run; (False, []) without tracking, whose CSV log is a callback."""
    if config.tracking.wandb == "off":
        return False, []
    try:
        from lightning.pytorch.loggers import WandbLogger
    except ImportError as error:
        raise MeshcastError(f"tracking.wandb={config.tracking.wandb} needs the package wandb: {error}.") from None
    logger = WandbLogger(
        name=config.name,
        project=config.tracking.project,
        save_dir=str(folder),
        offline=config.tracking.wandb == "offline",
        config=resolve(config),
    )
    _begin(logger)
    from training.pictures import ForecastPicture

    return logger, [ForecastPicture()]


def end_tracking(logger: Any, failed: bool) -> None:
    """Close a run's record, so that the next run in this process gets one of its own."""
    if logger:
        logger.experiment.finish(exit_code=int(failed))


def _begin(logger: Any) -> None:
    """Open the record now, where a missing login or connection can still be explained."""
    from wandb.errors import Error

    try:
        _ = logger.experiment
    except Error as error:
        raise MeshcastError(
            f"Weights & Biases cannot be reached: {error}. Log in with `wandb login`, or set tracking.wandb=offline."
        ) from None
