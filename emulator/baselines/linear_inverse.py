"""The linear inverse model: a few patterns, each forced by all, noise apart (Penland and Sardeshmukh 1995)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import FromClimatology
from emulator.features.periodic_mean import Period
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True)
class LinearInverseConfig(BaselineConfig):
    """period: of the climatology the anomaly is taken from; modes: empirical orthogonal functions kept."""

    kind: Literal["linear_inverse"] = "linear_inverse"
    period: Period = "month"
    modes: int = 20

    def __post_init__(self) -> None:
        if self.modes < 1:
            raise MeshcastError(f"modes must be at least 1, but is {self.modes}.")

    def build(self, task: Task, mesh: Mesh) -> LinearInverse:
        return LinearInverse(self, task, mesh)


class LinearInverse(FromClimatology):
    """p(t + 1) = G p(t), G = C₁ C₀⁻¹, with p the anomaly's components on its leading EOFs.

    C₀ = Σ p(t) pᵀ(t) and C₁ = Σ p(t + 1) pᵀ(t) over the training part, so n steps forecast Gⁿ p. What the EOFs do not
    span is forecast to be gone. Penland and Sardeshmukh (1995), doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2,
    eqs. 3 to 6. The EOFs are of all prognostic variables together, each divided by its anomalies' standard deviation,
    nodes counted by area. A node that lacks a value anywhere in the training part keeps its climatology; modes that the
    part does not span are zero. The anomalies of the whole training part are held in memory.

    eofs: [mode, node, prognostic], orthonormal under the areas; scale: [prognostic]; propagator: [mode, mode], G.
    """

    config: LinearInverseConfig

    def __init__(self, config: LinearInverseConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, task, mesh)
        variables = len(task.prognostic)
        self.eofs = nn.Buffer(torch.zeros(config.modes, mesh.num_nodes, variables, dtype=torch.float64))
        self.scale = nn.Buffer(torch.ones(variables, dtype=torch.float64))
        self.propagator = nn.Buffer(torch.zeros(config.modes, config.modes, dtype=torch.float64))

    def fit(self, part: TrainingPart) -> Self:
        super().fit(part)
        anomalies, follows = self._states(part)
        modes = self.config.modes
        there = ~np.isnan(anomalies).any(axis=0)  # [node, prognostic]
        anomalies[:, ~there] = 0.0
        weights = np.sqrt(self.mesh.areas)[:, None]
        scale = np.sqrt((anomalies**2 * weights**2).sum(axis=1).mean(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        weighted = (anomalies / scale * weights).reshape(len(anomalies), -1)
        patterns = _leading_patterns(weighted, modes)
        components = weighted @ patterns.T  # [time · row, mode]
        earlier, later = components[follows[:, 0]], components[follows[:, 1]]
        propagator = (later.T @ earlier) @ np.linalg.pinv(earlier.T @ earlier)
        self.eofs.copy_(torch.from_numpy(patterns.reshape(modes, *there.shape) / weights))
        self.scale.copy_(torch.from_numpy(scale))
        self.propagator.copy_(torch.from_numpy(propagator))
        return self

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        anomaly = self.anomaly(state).nan_to_num()
        areas = torch.as_tensor(self.mesh.areas, device=anomaly.device)[:, None]
        components = torch.einsum("bmnv,knv->bmk", anomaly.double() / self.scale * areas, self.eofs)
        later = torch.einsum("bmk,lk,lnv->bmnv", components, self.propagator, self.eofs) * self.scale
        return later.to(state.values.dtype)

    def _states(self, part: TrainingPart) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return anomalies [state, node, prognostic] of all times and rows, and the pairs [pair, 2] a step apart."""
        states, pairs, count = [], [], 0
        last = np.empty(0, dtype=np.int64)  # where the states of the time before stand
        for anomaly, known in self.anomalies(part):
            anomaly = anomaly[known:]
            places = count + np.arange(anomaly.shape[0] * anomaly.shape[1]).reshape(anomaly.shape[:2])
            both = np.concatenate([last[None], places]) if known else places
            pairs.append(np.stack([both[:-1].ravel(), both[1:].ravel()], axis=1))
            states.append(anomaly.reshape(-1, *anomaly.shape[2:]))
            count, last = count + places.size, places[-1]
        return np.concatenate(states), np.concatenate(pairs)


def _leading_patterns(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the leading right singular vectors [count, column], zero past the rank, from the smaller Gram matrix."""
    wide = rows.shape[0] < rows.shape[1]
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    leading = np.argsort(eigenvalues)[::-1][:count]
    leading = leading[eigenvalues[leading] > eigenvalues.max() * len(eigenvalues) * np.finfo(np.float64).eps]
    found = (vectors[:, leading] / np.sqrt(eigenvalues[leading])).T @ rows if wide else vectors[:, leading].T
    return np.concatenate([found, np.zeros((count - len(found), rows.shape[1]))])
