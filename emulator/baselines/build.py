"""From a configuration to a closed-form baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from emulator.baselines.anomaly_persistence import AnomalyPersistence, AnomalyPersistenceConfig
from emulator.baselines.climatology import Climatology, ClimatologyConfig
from emulator.baselines.coarse_solver import CoarseSolver, CoarseSolverConfig
from emulator.baselines.damped_anomaly import DampedAnomaly, DampedAnomalyConfig
from emulator.baselines.linear_inverse import LinearInverse, LinearInverseConfig
from emulator.baselines.persistence import Persistence, PersistenceConfig
from emulator.baselines.recent_mean import RecentMean, RecentMeanConfig
from emulator.baselines.ridge import Ridge, RidgeConfig
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

BaselineConfig = (
    PersistenceConfig
    | ClimatologyConfig
    | AnomalyPersistenceConfig
    | DampedAnomalyConfig
    | RecentMeanConfig
    | LinearInverseConfig
    | RidgeConfig
    | CoarseSolverConfig
)
Baseline = (
    Persistence | Climatology | AnomalyPersistence | DampedAnomaly | RecentMean | LinearInverse | Ridge | CoarseSolver
)


def build_baseline(config: BaselineConfig, task: Task, mesh: Mesh) -> Baseline:
    """An unfitted baseline, for the arrays of a fitted one: `load_state_dict`, with the fitted one's configuration."""
    return _class_of(config)(config, task, mesh)


def fit_baseline(config: BaselineConfig, task: Task, part: TrainingPart) -> Baseline:
    """A baseline fitted on the training part. Its `config` holds what was chosen, its `state_dict` all else."""
    return _class_of(config).fit(config, replace(task, boundary=False), part)  # closed forms know no boundary


def _class_of(config: BaselineConfig) -> Any:
    match config:
        case PersistenceConfig():
            return Persistence
        case ClimatologyConfig():
            return Climatology
        case AnomalyPersistenceConfig():
            return AnomalyPersistence
        case DampedAnomalyConfig():
            return DampedAnomaly
        case RecentMeanConfig():
            return RecentMean
        case LinearInverseConfig():
            return LinearInverse
        case RidgeConfig():
            return Ridge
        case CoarseSolverConfig():
            return CoarseSolver
        case _:
            raise MeshcastError(f"Not the configuration of a baseline: {config!r}.")
