"""Climatology: the training part's mean for the hour of day, the month, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, Self

import torch
from torch import Tensor, nn

from emulator.features.periodic_mean import Period, PeriodicMean
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart, without_inputs
from graphs.mesh import Mesh


@dataclass(frozen=True)
class ClimatologyConfig:
    """period: what the mean depends on besides the node: nothing, UTC hour of day, calendar month, or both."""

    kind: Literal["climatology"] = "climatology"
    period: Period = "hour"


class HasPeriod(Protocol):
    """A configuration that names the period of a climatology."""

    @property
    def period(self) -> Period: ...


class FromClimatology(nn.Module):
    """A baseline whose one fitted part is a climatology."""

    def __init__(self, config: HasPeriod, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.config, self.task, self.mesh = config, without_inputs(task), mesh
        self.mean = PeriodicMean(config.period, task, mesh)

    @classmethod
    def fit(cls, config: HasPeriod, task: Task, part: TrainingPart) -> Self:
        emulator = cls(config, task, part.fields.mesh)
        emulator.mean.fit(part)
        return emulator


class Climatology(FromClimatology):
    """Forecasts the climatology of the valid time, whatever the state."""

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        valid_time = self.task.time_step.advance(state.valid_time)
        prognostic, diagnostic = self.mean.at(valid_time, state.values.dtype)
        return state.followed_by(prognostic.expand_as(state.now), valid_time), for_members(diagnostic, state)


def for_members(diagnostic: Tensor, state: State) -> Tensor | None:
    """[batch, member, node, diagnostic] from [batch, 1, node, diagnostic]; None where there is no diagnostic."""
    return diagnostic.expand(-1, state.values.shape[1], -1, -1) if diagnostic.shape[-1] else None
