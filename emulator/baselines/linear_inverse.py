"""The linear inverse model: a few patterns, each forced by all, noise apart (Penland and Sardeshmukh 1995)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
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

MOST_COMPONENTS = 300  # by which the training part is seen while a number of modes is chosen
FOLDS = 5  # pieces of the training part, each forecast by a model of the others


@dataclass(frozen=True)
class LinearInverseConfig(BaselineConfig):
    """Patterns kept and penalties to choose from; a fitted emulator's configuration holds those chosen.

    period: of the climatology the anomaly is taken from.
    modes: empirical orthogonal functions kept; of several, those whose forecasts are best on parts of the training data
        that the model has not seen.
    penalties: on the squared weights by which patterns are more than damped, all alike, in units of a pattern's mean
        variance; 0 is none. The larger, the nearer to a damped anomaly. Of several, the best in the same way.
    rest: what becomes of the anomaly that the patterns do not span: `gone`, or `damped` as in the training part.
    rollout_steps: of the forecasts by whose error modes and penalty are chosen.
    """

    kind: Literal["linear_inverse"] = "linear_inverse"
    period: Period = "month"
    modes: int | tuple[int, ...] = 20
    penalties: tuple[float, ...] = (0.0,)
    rest: Literal["gone", "damped"] = "gone"
    rollout_steps: int = 6

    def __post_init__(self) -> None:
        if min(self.numbers_of_modes, default=0) < 1:
            raise MeshcastError(f"modes must be at least 1, but is {self.modes}.")
        if not self.penalties or not all(0 <= penalty < np.inf for penalty in self.penalties):
            raise MeshcastError(f"penalties must be one or more numbers from 0, but are {list(self.penalties)}.")
        if self.rollout_steps < 1:
            raise MeshcastError(f"rollout_steps must be at least 1, but is {self.rollout_steps}.")

    @property
    def numbers_of_modes(self) -> tuple[int, ...]:
        """Return the numbers of patterns to choose from."""
        return (self.modes,) if isinstance(self.modes, int) else self.modes

    def in_words(self) -> str:
        return "a linear inverse model [@penland1995]"

    def build(self, task: Task, mesh: Mesh) -> LinearInverse:
        return LinearInverse(self, task, mesh)


class LinearInverse(FromClimatology):
    """p(t + 1) = G p(t), G = C₁ C₀⁻¹, with p the anomaly's components on its leading EOFs.

    C₀ = Σ p(t) pᵀ(t) and C₁ = Σ p(t + 1) pᵀ(t) over the training part, so n steps forecast Gⁿ p. What the EOFs do not
    span is forecast to be gone. Penland and Sardeshmukh (1995), doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2,
    eqs. 3 to 6. The EOFs are of all prognostic variables together, each divided by its anomalies' standard deviation,
    nodes counted by area. A node that lacks a value anywhere in the training part keeps its climatology; modes that the
    part does not span are zero. The anomalies of the whole training part are held in memory.

    With a penalty λ the model lies between that and one damping r of all patterns, r = Σ p(t + 1)·p(t) / Σ p(t)·p(t):
    G = r + (C₁ − r C₀) (C₀ + λ m)⁻¹, with m the mean of C₀'s diagonal.

    eofs: [mode, node, prognostic], orthonormal under the areas; scale: [prognostic]; propagator: [mode, mode], G.
    kept: [node, prognostic] the share that a step leaves of what the EOFs do not span, where that is damped.
    """

    config: LinearInverseConfig

    def __init__(self, config: LinearInverseConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, task, mesh)
        modes, variables = max(config.numbers_of_modes), len(task.prognostic)
        self.eofs = nn.Buffer(torch.zeros(modes, mesh.num_nodes, variables, dtype=torch.float64))
        self.scale = nn.Buffer(torch.ones(variables, dtype=torch.float64))
        self.propagator = nn.Buffer(torch.zeros(modes, modes, dtype=torch.float64))
        if config.rest == "damped":
            self.kept = nn.Buffer(torch.zeros(mesh.num_nodes, variables, dtype=torch.float64))

    def fit(self, part: TrainingPart) -> Self:
        """Return it fitted, with the number of modes and the penalty that were best on what was held out."""
        super().fit(part)
        anomalies, follows = self._states(part)
        there = ~np.isnan(anomalies).any(axis=0)  # [node, prognostic]
        anomalies[:, ~there] = 0.0
        weights = np.sqrt(self.mesh.areas)[:, None]
        scale = np.sqrt((anomalies**2 * weights**2).sum(axis=1).mean(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        weighted = (anomalies / scale * weights).reshape(len(anomalies), -1)
        config = self.config = self._chosen(weighted, follows)
        modes, (penalty,) = config.numbers_of_modes[0], config.penalties
        patterns = _leading_patterns(weighted, modes)
        components = weighted @ patterns.T  # [time · row, mode]
        earlier, later = components[follows[:, 0]], components[follows[:, 1]]
        self.eofs = nn.Buffer(torch.from_numpy(patterns.reshape(modes, *there.shape) / weights))
        self.scale.copy_(torch.from_numpy(scale))
        self.propagator = nn.Buffer(torch.from_numpy(_propagator(earlier, later, penalty)))
        if config.rest == "damped":
            rest = weighted - components @ patterns
            self.kept.copy_(torch.from_numpy(_damping(rest[follows[:, 0]], rest[follows[:, 1]]) * there))
        return self

    def _chosen(self, rows: NDArray[np.float64], follows: NDArray[np.int64]) -> LinearInverseConfig:
        """Return the configuration with the modes and penalty whose forecasts are best on what the model has not seen.

        The score is the geometric mean over lead times of the root mean square error, each of the pieces of the rows
        forecast by patterns and propagator of the others.

        rows: weighted anomalies [state, column]; follows: [pair, 2] states a step apart.
        """
        config, choices = self.config, list(product(self.config.numbers_of_modes, self.config.penalties))
        if len(choices) == 1:
            return replace(config, modes=choices[0][0])
        most = max(MOST_COMPONENTS, *config.numbers_of_modes)
        rows = rows @ _leading_patterns(rows, min(*rows.shape, most)).T  # nearly all there is, in fewer numbers
        following = np.full(len(rows), -1)
        following[follows[:, 0]] = follows[:, 1]
        squares = np.zeros((len(choices), config.rollout_steps))
        for held_out in np.array_split(np.arange(len(rows)), FOLDS):
            seen = ~np.isin(np.arange(len(rows)), held_out)
            pairs = follows[seen[follows].all(axis=1)]
            patterns = _leading_patterns(rows[seen], max(config.numbers_of_modes))
            for choice, (modes, penalty) in enumerate(choices):
                components = rows @ patterns[:modes].T
                rest = rows - components @ patterns[:modes]
                earlier, later = pairs.T
                step = _propagator(components[earlier], components[later], penalty)
                kept = _damping(rest[earlier], rest[later]) if config.rest == "damped" else 0.0
                ahead, beside, at = components[held_out], rest[held_out], held_out
                for lead in range(config.rollout_steps):
                    at = following[at]
                    known = (at >= held_out[0]) & (at <= held_out[-1])
                    ahead, beside, at = ahead[known] @ step.T, kept * beside[known], at[known]
                    squares[choice, lead] += ((ahead @ patterns[:modes] + beside - rows[at]) ** 2).sum()
        score = np.log(squares.clip(np.finfo(float).tiny)).mean(axis=1)  # a lead without a pair says nothing
        modes, penalty = choices[int(np.argmin(score))]
        return replace(config, modes=modes, penalties=(penalty,))

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        return self.after(self.anomaly(state).nan_to_num()).to(state.values.dtype)

    def after(self, anomaly: Tensor) -> Tensor:
        """Return the anomaly [batch, member, node, prognostic] a step later, in double precision."""
        areas = torch.as_tensor(self.mesh.areas, device=anomaly.device)[:, None]
        components = torch.einsum("bmnv,knv->bmk", anomaly.double() / self.scale * areas, self.eofs)
        later = torch.einsum("bmk,lk,lnv->bmnv", components, self.propagator, self.eofs) * self.scale
        if self.config.rest == "damped":
            spanned = torch.einsum("bmk,knv->bmnv", components, self.eofs) * self.scale
            later = later + self.kept * (anomaly.double() - spanned)
        return later

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


def _propagator(earlier: NDArray[np.float64], later: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return G [mode, mode] of components [pair, mode] a step apart."""
    covariance = earlier.T @ earlier
    if penalty == 0:
        return (later.T @ earlier) @ np.linalg.pinv(covariance)
    ridge = penalty * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    damping = _damping(earlier, later)
    correction = (later - damping * earlier).T @ earlier @ np.linalg.pinv(covariance + ridge)
    return damping * np.eye(len(covariance)) + correction


def _damping(earlier: NDArray[np.float64], later: NDArray[np.float64]) -> float:
    """Return the share, from 0 to 1, that a step leaves of what changes from `earlier` to `later`: least squares."""
    square = float((earlier**2).sum())
    return min(max(float((earlier * later).sum()) / square, 0.0), 1.0) if square > 0 else 0.0


def _leading_patterns(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the leading right singular vectors [count, column], zero past the rank, from the smaller Gram matrix."""
    wide = rows.shape[0] < rows.shape[1]
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    leading = np.argsort(eigenvalues)[::-1][:count]
    leading = leading[eigenvalues[leading] > eigenvalues.max() * len(eigenvalues) * np.finfo(np.float64).eps]
    found = (vectors[:, leading] / np.sqrt(eigenvalues[leading])).T @ rows if wide else vectors[:, leading].T
    return np.concatenate([found, np.zeros((count - len(found), rows.shape[1]))])
