"""Persistence: tomorrow is like today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.baselines.climatology import for_members
from emulator.features.periodic_mean import PeriodicMean
from emulator.state import State, Step
from emulator.task import Task
from emulator.training_part import TrainingPart, without_inputs
from graphs.mesh import Mesh


@dataclass(frozen=True)
class PersistenceConfig(BaselineConfig):
    """Nothing to choose."""

    kind: Literal["persistence"] = "persistence"

    def build(self, task: Task, mesh: Mesh) -> Persistence:
        return Persistence(self, task, mesh)


class Persistence(Baseline):
    """The state stays as it is. Diagnostic variables, which the state does not hold, keep their training mean."""

    def __init__(self, config: PersistenceConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, without_inputs(task), mesh)
        self.mean = PeriodicMean("none", task, mesh) if task.diagnostic else None

    def fit(self, part: TrainingPart) -> Self:
        if self.mean is not None:
            self.mean.fit(part)
        return self

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        valid_time = self.task.time_step.advance(state.valid_time)
        mean = None if self.mean is None else for_members(self.mean.at(valid_time, state.values.dtype)[1], state)
        return state.followed_by(state.now, valid_time), mean
