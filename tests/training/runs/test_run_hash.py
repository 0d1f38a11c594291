"""A run keeps the hash it is stored under, whatever keys are added to the configuration later."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulator.baselines.ridge import RidgeConfig
from emulator.foundation.configuration import load
from graphs.errors import MeshcastError
from training.experiment import DataConfig, DataPart, ExperimentConfig, TrainingConfig, ValidationConfig
from training.runs.study import Run, find_hash, run_study, stored_configurations
from training.task_config import TaskConfig

RESULTS = Path(__file__).resolve().parents[3] / "results"
COMMITTED = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
NO_LONGER_READ = {"num_basis": "num_harmonics", "anomaly_ridge": "ridge"}  # of before version 0.1: what is read today


@dataclass(frozen=True)
class LaterTraining(TrainingConfig):
    """The training of a later version, with one key more."""

    restarts: int = 0


@dataclass(frozen=True)
class OtherDefault(TrainingConfig):
    """The training of a later version, with another default."""

    batch_size: int = 30


@pytest.fixture
def experiment(tmp_path: Path) -> ExperimentConfig:
    x, frames = 2 * np.pi * np.arange(16) / 16, np.arange(12)
    waves = np.stack([np.cos(x - 0.3 * frames[:, None] + phase) for phase in range(4)])
    source = str(tmp_path / "waves.npy")
    np.save(source, waves[:, :, None].astype(np.float32))
    return ExperimentConfig(
        name="study",
        data=DataConfig(DataPart(source, (0, 3)), DataPart(source, (3, 4))),
        task=TaskConfig(("u",)),
        emulator=RidgeConfig(radii=(1,), penalties=(1e-6,), rollout_steps=2),
        validation=ValidationConfig(steps=3, cases=2),
        output=str(tmp_path / "runs"),
    )


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_result_counts_as_finished(name: str) -> None:
    result = COMMITTED[name]
    text = json.dumps(result["config"]["emulator"])
    if old := [key for key in NO_LONGER_READ if f'"{key}"' in text]:
        with pytest.raises(MeshcastError, match=NO_LONGER_READ[old[0]]):
            load(ExperimentConfig, result["config"])
        return
    assert _found(load(ExperimentConfig, result["config"]), result) == name


def test_most_committed_results_are_read() -> None:
    texts = [json.dumps(result["config"]["emulator"]) for result in COMMITTED.values()]
    assert sum(not any(f'"{key}"' in text for key in NO_LONGER_READ) for text in texts) >= 34


def test_a_key_added_at_its_default_leaves_a_run_finished(experiment: ExperimentConfig, tmp_path: Path) -> None:
    (first,) = _study(experiment, tmp_path)
    (again,) = _study(_trained_as(experiment, LaterTraining()), tmp_path)
    assert (again.hash, again.date) == (first.hash, first.date)
    (other,) = _study(_trained_as(experiment, LaterTraining(restarts=1)), tmp_path)
    assert other.hash != first.hash
    (back,) = _study(_trained_as(experiment, LaterTraining()), tmp_path)
    assert back.hash == first.hash


def test_how_forecasts_are_labelled_leaves_a_run_finished(experiment: ExperimentConfig, tmp_path: Path) -> None:
    (first,) = _study(experiment, tmp_path)
    (again,) = _study(replace(experiment, grib={"u": 131, "centre": "ecmf"}), tmp_path)
    assert (again.hash, again.date) == (first.hash, first.date)
    with pytest.raises(MeshcastError, match="grib names v, but the settings are centre"):
        replace(experiment, grib={"v": 132})


def test_a_default_that_changed_asks_for_another_run(experiment: ExperimentConfig, tmp_path: Path) -> None:
    (first,) = _study(experiment, tmp_path)
    (other,) = _study(_trained_as(experiment, OtherDefault()), tmp_path)
    assert other.hash != first.hash
    (same,) = _study(_trained_as(experiment, OtherDefault(batch_size=20)), tmp_path)
    assert same.hash == first.hash


def test_a_key_that_is_gone_or_data_that_changed_leave_nothing_finished(
    experiment: ExperimentConfig, tmp_path: Path
) -> None:
    later = _trained_as(experiment, LaterTraining())
    (with_key,) = _study(later, tmp_path)
    assert _study(experiment, tmp_path)[0].hash != with_key.hash
    (first,) = _study(experiment, tmp_path)
    source = str(experiment.data.train.source)
    np.save(source, np.load(source) + 1)
    assert _study(later, tmp_path)[0].hash not in (with_key.hash, first.hash)


def _trained_as(experiment: ExperimentConfig, training: TrainingConfig) -> ExperimentConfig:
    return replace(experiment, training=training)


def _study(experiment: ExperimentConfig, tmp_path: Path) -> list[Any]:
    # Each configuration writes its run elsewhere: a run folder is read by the class of today, which lacks these keys.
    output = str(tmp_path / "runs" / type(experiment.training).__name__)
    return run_study([Run("ridge", replace(experiment, output=output))], tmp_path / "results", progress=False)


def _found(experiment: ExperimentConfig, result: dict[str, Any]) -> str:
    run = Run(result["label"], experiment, result["seed"])
    return find_hash(run, result["data"], RESULTS, stored_configurations(RESULTS))
