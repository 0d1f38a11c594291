"""A tiny experiment: waves on a ring of 24 nodes, trained for a few dozen updates in well under a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.networks.gnn import GNNConfig, ProcessorConfig
from tests.emulator.worlds import moving_waves
from training.experiment import (
    DataConfig,
    DataPart,
    ExperimentConfig,
    TaskConfig,
    TrainingConfig,
    ValidationConfig,
)

TRAINING = TrainingConfig(updates=24, batch_size=4, warm_up=4, accelerator="cpu")
VALIDATION = ValidationConfig(every=8, steps=3, cases=3)
PROCESSOR = ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8)


def write_waves(folder: Path) -> tuple[Path, Path]:
    """Training and validation arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "waves_train.npy", folder / "waves_valid.npy"
    for seed, (path, trajectories) in enumerate(zip(paths, (4, 3), strict=True)):
        np.save(path, moving_waves(trajectories, 12, seed=seed))
    return paths


def experiment(
    folder: Path,
    name: str = "run",
    emulator: Any = None,
    training: dict[str, Any] | None = None,
    validation: dict[str, Any] | None = None,
    **sections: Any,
) -> ExperimentConfig:
    """An experiment on waves, whose run goes to folder/name; training and validation override single settings."""
    train, valid = write_waves(folder / "data")
    config = ExperimentConfig(
        name=name,
        data=DataConfig(DataPart(str(train)), DataPart(str(valid))),
        task=TaskConfig(prognostic=("u",)),
        emulator=emulator or GNNConfig(processor=PROCESSOR),
        training=replace(TRAINING, **(training or {})),
        validation=replace(VALIDATION, **(validation or {})),
        output=str(folder),
    )
    return replace(config, **sections)
