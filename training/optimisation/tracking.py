"""Weights & Biases, by configuration: the resolved configuration, the metrics, and a forecast's picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import resolve
from graphs.errors import MeshcastError
from training.accounting import TrackingConfig
from training.experiment import ExperimentConfig


@contextmanager
def tracking(config: ExperimentConfig, folder: Path) -> Iterator[Any]:
    """Yield Lightning's logger of a run; False where tracking is off.

    The record is closed with the block, as failed where it raises, so that the next run in this process gets its own.
    """
    if config.tracking.wandb == "off":
        yield False
        return
    logger = _logger(config, folder)
    failed = True
    try:
        yield logger
        failed = False
    finally:
        logger.experiment.finish(exit_code=int(failed))


def track_table(config: TrackingConfig, name: str, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The final table of a comparison as a record of its own, each row's score in its summary; nothing where off."""
    if config.wandb == "off" or not rows:
        return
    try:
        import wandb
    except ImportError as error:
        raise MeshcastError(f"tracking.wandb={config.wandb} needs the package wandb: {error}.") from None
    columns: list[str | int] = list(rows[0])
    with wandb.init(
        name=f"{name}, table", project=config.project, dir=str(folder), mode=config.wandb, job_type="comparison"
    ) as record:
        cells = [[json.dumps(row[str(column)]) for column in columns] for row in rows]
        record.log({"comparison": wandb.Table(columns=columns, data=cells)})
        record.summary.update({f"score/{row['label']}": row["score"] for row in rows if row["score"] is not None})


def _logger(config: ExperimentConfig, folder: Path) -> Any:
    """Return the logger, its record opened now, where a missing login or connection can still be explained."""
    try:
        from lightning.pytorch.loggers import WandbLogger
        from wandb.errors import Error
    except ImportError as error:
        raise MeshcastError(f"tracking.wandb={config.tracking.wandb} needs the package wandb: {error}.") from None
    logger = WandbLogger(
        name=config.name,
        project=config.tracking.project,
        save_dir=str(folder),
        offline=config.tracking.wandb == "offline",
        config=resolve(config),
    )
    try:
        _ = logger.experiment
    except Error as error:
        raise MeshcastError(
            f"Weights & Biases cannot be reached: {error}. Log in with `wandb login`, or set tracking.wandb=offline."
        ) from None
    return logger
