"""Anomaly persistence: the departure from the climatology stays, the climatology moves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import FromClimatology
from emulator.features.periodic_mean import Period
from emulator.state import State
from emulator.task import Task
from graphs.mesh import Mesh


@dataclass(frozen=True)
class AnomalyPersistenceConfig(BaselineConfig):
    """period: of the climatology the anomaly is taken from."""

    kind: Literal["anomaly_persistence"] = "anomaly_persistence"
    period: Period = "hour"

    def build(self, task: Task, mesh: Mesh) -> AnomalyPersistence:
        return AnomalyPersistence(self, task, mesh)


class AnomalyPersistence(FromClimatology):
    """x(t + 1) = c(t + 1) + x(t) − c(t), with the climatology c."""

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        return self.anomaly(state)
