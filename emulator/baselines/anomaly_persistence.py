"""Anomaly persistence: the departure from the climatology stays, the climatology moves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.baselines.climatology import Period, PeriodicMean, for_members
from emulator.baselines.part import TrainingPart, without_inputs
from emulator.state import State
from emulator.task import Task
from graphs.mesh import Mesh


@dataclass(frozen=True)
class AnomalyPersistenceConfig:
    """period: of the climatology the anomaly is taken from."""

    kind: Literal["anomaly_persistence"] = "anomaly_persistence"
    period: Period = "hour"


class AnomalyPersistence(nn.Module):
    """x(t + 1) = c(t + 1) + x(t) − c(t), with the climatology c."""

    def __init__(self, config: AnomalyPersistenceConfig, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.config, self.task, self.mesh = config, without_inputs(task), mesh
        self.mean = PeriodicMean(config.period, task, mesh)

    @classmethod
    def fit(cls, config: AnomalyPersistenceConfig, task: Task, part: TrainingPart) -> AnomalyPersistence:
        emulator = cls(config, task, part.fields.mesh)
        emulator.mean.fit(part)
        return emulator

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        valid_time = self.task.time_step.advance(state.valid_time)
        anomaly = state.now - self.mean.at(state.valid_time, state.values.dtype)[0]
        prognostic, diagnostic = self.mean.at(valid_time, state.values.dtype)
        return state.followed_by(prognostic + anomaly, valid_time), for_members(diagnostic, state)
