"""Anomaly persistence: the departure from the climatology stays, the climatology moves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import FromClimatology, for_members
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

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        valid_time = self.task.time_step.advance(state.valid_time)
        anomaly = state.now - self.mean.at(state.valid_time, state.values.dtype)[0]
        prognostic, diagnostic = self.mean.at(valid_time, state.values.dtype)
        return state.followed_by(prognostic + anomaly, valid_time), for_members(diagnostic, state)
