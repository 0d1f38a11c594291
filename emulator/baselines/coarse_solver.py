"""A coarse solver as a baseline: the true equation with fewer harmonics, started from the data's own nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver
from emulator.state import State
from emulator.task import Task
from emulator.training_part import without_inputs
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

TRUNCATION_ATTRIBUTE = "truncation"  # of a forecast that a solver made


@dataclass(frozen=True)
class CoarseSolverConfig(BaselineConfig):
    """Spectral shallow water on the nodes of the data, with the task's time step; nothing is fitted.

    equation: its truncation T, (T + 1)² below the number of nodes, and what the data were made with.
    """

    kind: Literal["shallow_water"] = "shallow_water"
    equation: ShallowWaterConfig = field(default_factory=lambda: ShallowWaterConfig(truncation=15))

    def in_words(self) -> str:
        return f"a spectral shallow-water solver at T{self.equation.truncation} [@williamson1992; @whitaker2013]"

    def build(self, task: Task, mesh: Mesh) -> CoarseSolver:
        return CoarseSolver(self, task, mesh)


class CoarseSolver(Baseline):
    """Shallow water of h, u, v at the nodes of the data; see `SphereSolver`, whose first step cuts them to T."""

    def __init__(self, config: CoarseSolverConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, without_inputs(task), mesh)
        self.order = fields_of_shallow_water(task)
        self.solver = SphereSolver(config.equation, task.time_step, mesh)

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> tuple[State, None]:
        later, _ = self.solver.step(State(state.now[:, :, None][..., self.order], state.valid_time))
        now = later.now[..., np.argsort(self.order)].to(state.values.dtype)
        return state.followed_by(now, later.valid_time), None


def fields_of_shallow_water(task: Task) -> list[int]:
    """Return where h, u and v stand among the prognostic variables. Raises MeshcastError for any other task."""
    names = task.prognostic
    if sorted(names) != ["h", "u", "v"] or task.diagnostic:
        predicted = ", ".join(variable.name for variable in task.predicted)
        raise MeshcastError(
            f"Shallow water predicts the depth h [m] and the wind u, v [m s-1], but the task predicts {predicted}. "
            "Use task: {prognostic: [h, u, v]} on data of that equation."
        )
    return [names.index(name) for name in ("h", "u", "v")]


def solver_attributes(config: object) -> dict[str, str]:
    """Return what a forecast says of the solver that made it; nothing for any other emulator."""
    return {TRUNCATION_ATTRIBUTE: str(config.equation.truncation)} if isinstance(config, CoarseSolverConfig) else {}
