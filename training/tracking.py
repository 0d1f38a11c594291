"""Weights & Biases, by configuration: the resolved configuration, the metrics, and a forecast's picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emulator.configuration import resolve
from emulator.task import Task
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig


def tracking_loggers(config: ExperimentConfig, folder: Path, task: Task) -> tuple[Any, list[Any]]:
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
    from training.pictures import ForecastPicture

    return logger, [ForecastPicture()]
