"""Persistence: tomorrow is like today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.baselines.climatology import for_members
from emulator.features.periodic_mean import PeriodicMean
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart, without_inputs
from graphs.mesh import Mesh


@dataclass(frozen=True)
class PersistenceConfig:
    """Nothing to choose."""

    kind: Literal["persistence"] = "persistence"


class Persistence(nn.Module):
    """The state stays as it is. Diagnostic variables, which the state does not hold, keep their training mean."""

    def __init__(self, config: PersistenceConfig, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.config, self.task, self.mesh = config, without_inputs(task), mesh
        self.mean = PeriodicMean("none", task, mesh) if task.diagnostic else None

    @classmethod
    def fit(cls, config: PersistenceConfig, task: Task, part: TrainingPart) -> Persistence:
        emulator = cls(config, task, part.fields.mesh)
        if emulator.mean is not None:
            emulator.mean.fit(part)
        return emulator

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        valid_time = self.task.time_step.advance(state.valid_time)
        diagnostic = None
        if self.mean is not None:
            diagnostic = for_members(self.mean.at(valid_time, state.values.dtype)[1], state)
        return state.followed_by(state.now, valid_time), diagnostic
