"""Ridge regression of the next state on the neighbourhood of this one: what a linear emulator can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.features.departures import DeparturesConfig, build_inputs
from emulator.state import State, Step
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

BLOCK_BYTES = 64e6  # of regressors at a time
MOST_VALUES = 7e5  # of the states from which a radius and a penalty are chosen: more takes time and chooses the same


@dataclass(frozen=True)
class RidgeConfig(BaselineConfig):
    """Radii and penalties to choose from; a fitted emulator's configuration holds the one radius and penalty chosen.

    radii: how far a node sees, in hops on a ring, rows and columns on a grid; 0 is the node alone.
    penalties: on the squared weights, in the units of a normalised target's mean squared error.
    rollout_steps: of the rollouts on held-out training data by whose error the two are chosen.
    held_out: share of the training part held out for that: its last trajectories, or its last dates.
    departures: regress departures from a climatology, in place of the states.
    """

    kind: Literal["ridge"] = "ridge"
    radii: tuple[int, ...] = (1, 2, 3)
    penalties: tuple[float, ...] = (1e-8, 1e-6, 1e-4, 1e-2)
    rollout_steps: int = 20
    held_out: float = 0.2
    departures: DeparturesConfig | None = None

    def __post_init__(self) -> None:
        if not self.radii or min(self.radii) < 0:
            raise MeshcastError(f"radii must be one or more whole numbers from 0, but are {list(self.radii)}.")
        if not self.penalties or not min(self.penalties) >= 0:
            raise MeshcastError(f"penalties must be one or more numbers from 0, but are {list(self.penalties)}.")
        if self.rollout_steps < 1:
            raise MeshcastError(f"rollout_steps must be at least 1, but is {self.rollout_steps}.")
        if not 0 < self.held_out < 1:
            raise MeshcastError(f"held_out must be a share between 0 and 1, but is {self.held_out}.")

    def in_words(self) -> str:
        return "a ridge regression [@hoerl1970] on the nodes around each"

    def build(self, task: Task, mesh: Mesh) -> Ridge:
        return Ridge(self, task, mesh)


class Ridge(Baseline):
    """The normalised next state as a linear function of the normalised states around each node.

    x_i(t + 1) = b + Σ_p W_p x_(i + p)(t) + U (forcings, statics)_i, with weights shared by all nodes. The state is
    regressed, not its tendency: the penalty then damps what the training data do not hold, and long rollouts stay
    bounded.
    """

    config: RidgeConfig

    def __init__(self, config: RidgeConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, task, mesh)
        self.inputs = build_inputs(config.departures, task, mesh)
        num_fields, num_own = self.inputs.num_fields, self.inputs.num_own
        self.map = NeighbourhoodMap(mesh, max(config.radii), num_fields, num_own, len(task.predicted))

    def fit(self, part: TrainingPart) -> Ridge:
        """Return it fitted, with the radius and penalty whose rollouts were best on what was held out.

        Raises MeshcastError where the part is too short, or no choice stays finite.
        """
        self.inputs.take(part)
        if len(self.config.radii) == len(self.config.penalties) == 1:
            equations, chosen = self.equations(part), self.config
        else:
            seen, held_out = split(part, self.config.held_out)
            seen_equations = self.equations(seen)
            chosen = self.choose(seen_equations, held_out)
            equations = seen_equations + self.equations(held_out)
        return self.narrowed(chosen.radii[0], chosen.penalties, equations)[0]

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        return self.advance(state, self.inputs.own(forcing, state.values.shape[1]))

    def advance(self, state: State, own: Tensor) -> Step:
        """Return the next state, with forcings and statics as features of the nodes, see `Inputs.own`."""
        return self.inputs.advance(state, self.map.combine_blocks(self.inputs.fields(state), own))

    def equations(self, part: TrainingPart) -> NormalEquations:
        """Return the sums over every step of a training part, read in blocks."""
        equations = NormalEquations.zero(*self.map.weights.shape)
        size = self.mesh.num_nodes * len(self.map.weights) * 8
        most = max(1, int(BLOCK_BYTES // size))
        memory = self.map.weights.new_empty(most, self.map.neighbours.numel(), self.inputs.num_fields)
        for state, following in part.steps(self.task):
            features = self.inputs.features(state, part.provider.window(state, self.task, 0))
            targets = self.inputs.targets(state, following.flatten(0, 1))
            for rows in torch.arange(len(features)).split(most):
                regressors = self.map.regressors(features[rows], memory[: len(rows)])
                equations = equations.with_rows(regressors, targets[rows])
        return equations

    @torch.no_grad()
    def choose(self, equations: NormalEquations, held_out: TrainingPart) -> RidgeConfig:
        """Return the configuration with the one radius and penalty whose rollouts on held-out data are best."""
        state, truth = starts(held_out, self.task, self.config.rollout_steps)
        penalties = self.config.penalties
        candidates = [choice for radius in self.config.radii for choice in self.narrowed(radius, penalties, equations)]
        logs: list[list[float]] = [[] for _ in candidates]
        states = [state] * len(candidates)
        for done, target in enumerate(truth):
            # The candidates share times and scales: what forces a step costs more than their steps, and is found once.
            forcing = held_out.provider.window(states[0], self.task, done)
            own = self.inputs.own(forcing, states[0].values.shape[1])
            for number, candidate in enumerate(candidates):
                states[number], _ = candidate.advance(states[number], own)
                logs[number].append(self._log_error(states[number].now, target))
        scores = [sum(errors) / len(errors) for errors in logs]  # logarithms of geometric means
        best = scores.index(min(scores))
        if not math.isfinite(scores[best]):
            raise MeshcastError(
                f"No ridge regression stays finite over {len(truth)} steps, whatever its radius in "
                f"{list(self.config.radii)} and penalty in {list(self.config.penalties)}. Add larger penalties."
            )
        return candidates[best].config

    def _log_error(self, forecast: Tensor, target: Tensor) -> float:
        areas = torch.from_numpy(self.mesh.areas)[:, None]
        square = areas * ((forecast.double() - target) / self.inputs.score_std[: self.inputs.num_prognostic]) ** 2
        there = ~torch.isnan(target)
        error = float(torch.where(there, square, 0.0).sum() / (areas * there).sum())
        return 0.5 * math.log(max(error, 1e-30)) if math.isfinite(error) else math.inf

    def narrowed(self, radius: int, penalties: tuple[float, ...], equations: NormalEquations) -> list[Ridge]:
        """Return one emulator a penalty, solved at a radius no larger than this one's."""
        weights, intercepts = equations.select(self.map.columns_within(radius)).solve(penalties)
        scales = {f"inputs.{name}": buffer for name, buffer in self.inputs.state_dict().items()}
        emulators = []
        for penalty, weight, intercept in zip(penalties, weights, intercepts, strict=True):
            emulator = Ridge(replace(self.config, radii=(radius,), penalties=(penalty,)), self.task, self.mesh)
            emulator.load_state_dict(scales | {"map.weights": weight, "map.intercept": intercept})
            emulators.append(emulator)
        return emulators


def split(part: TrainingPart, share: float) -> tuple[TrainingPart, TrainingPart]:
    """Return the part without its last trajectories, or where it has none its last dates, and these."""
    rows, times = part.rows, part.available
    if part.fields.ensemble_axis == "trajectory" and len(rows) >= 2:
        cut = len(rows) - max(1, round(share * len(rows)))
        return replace(part, ensemble=rows[:cut]), replace(part, ensemble=rows[cut:])
    cut = len(times) - max(1, round(share * len(times)))
    return replace(part, times=times[:cut]), replace(part, times=times[cut:])


def starts(part: TrainingPart, task: Task, steps: int, most: int = 64) -> tuple[State, Tensor]:
    """Return up to `most` initial states of the part, and what followed each [step, row, 1, node, prognostic]."""
    stride = part.frames(task)
    first, steps = _unbroken(part.available, task.history, steps, stride)
    most = max(4, min(most, int(MOST_VALUES // (part.fields.mesh.num_nodes * len(task.prognostic)))))
    rows = part.rows[: max(1, most)]
    chosen = first[np.unique(np.linspace(0, len(first) - 1, max(1, most // len(rows))).round().astype(int))]
    window = stride * np.arange(task.history + steps)
    blocks = [part.fields.read(start + window, task.prognostic, rows) for start in chosen]
    values = torch.from_numpy(np.concatenate(blocks, axis=1)).transpose(0, 1).unsqueeze(1)  # [row, 1, time, node, var]
    now = np.repeat(part.fields.times[chosen + stride * (task.history - 1)], len(rows))
    trajectory = np.tile([part.fields.trajectories[row] for row in rows], len(chosen))
    state = State(values[:, :, : task.history], now, trajectory)
    return state, values[:, :, task.history :].permute(2, 0, 1, 3, 4).double()


def _unbroken(index: NDArray[np.int64], history: int, steps: int, stride: int) -> tuple[NDArray[np.int64], int]:
    for fewer in range(min(steps, len(index) - history), 0, -1):
        whole = np.isin(index[:, None] + stride * np.arange(history + fewer), index).all(axis=1)
        if whole.any():
            return index[whole], fewer
    raise MeshcastError(
        f"The held-out training part has no {history + 1} consecutive dates, which choosing a radius and a penalty by "
        "rollout needs. Train on a longer part, or give one radius and one penalty."
    )


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The sums that linear regression needs, float64. `group` is 1, or one a target once targets lack different rows.

    count: [group] rows.
    feature_sum: [group, feature]; target_sum: [target].
    gram: [group, feature, feature], Σ x xᵀ; cross: [feature, target], Σ x y.
    """

    count: Tensor
    feature_sum: Tensor
    gram: Tensor
    target_sum: Tensor
    cross: Tensor

    @classmethod
    def zero(cls, num_features: int, num_targets: int) -> NormalEquations:
        shapes = (1,), (1, num_features), (1, num_features, num_features), (num_targets,), (num_features, num_targets)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def with_rows(self, features: Tensor, targets: Tensor) -> NormalEquations:
        """Return the sums with rows [..., feature] and [..., target]; a target of NaN leaves out its row for itself."""
        x = features.detach().reshape(-1, features.shape[-1]).double()
        y = targets.detach().reshape(-1, targets.shape[-1]).double()
        there = ~torch.isnan(y)
        rows = there.any(dim=1)
        if not bool(rows.all()):  # rows without any target need not be looked at again
            x, y, there = x[rows], y[rows], there[rows]
        y = torch.where(there, y, 0.0)
        masks = torch.ones(1, len(x), dtype=torch.bool) if bool(there.all()) else there.T
        parts = [x if bool(mask.all()) else x[mask] for mask in masks]
        return self + NormalEquations(
            count=torch.tensor([float(len(part)) for part in parts], dtype=torch.float64),
            feature_sum=torch.stack([part.sum(dim=0) for part in parts]),
            gram=torch.stack([part.T @ part for part in parts]),
            target_sum=y.sum(dim=0),
            cross=x.T @ y,
        )

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def select(self, features: Tensor) -> NormalEquations:
        """Return the same sums for some of the features, given by index."""
        gram = self.gram[:, features][:, :, features]
        return NormalEquations(self.count, self.feature_sum[:, features], gram, self.target_sum, self.cross[features])

    def solve(self, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return weights [penalty, feature, target] and intercepts [penalty, target] that minimise

            mean (y − b − w·x)² + penalty · |w|²

        The intercept is not penalised. One eigendecomposition serves all penalties; directions the rows do not span get
        weight zero, so that penalty 0 gives the solution of least norm.
        """
        alone = len(self.count) == 1
        groups = [slice(None) if alone else slice(target, target + 1) for target in range(len(self.count))]
        solutions = [self._solve_group(group, targets, penalties) for group, targets in enumerate(groups)]
        weights, intercepts = zip(*solutions, strict=True)
        return torch.cat(weights, dim=-1), torch.cat(intercepts, dim=-1)

    def _solve_group(self, group: int, targets: slice, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
        count = self.count[group].clamp(min=1.0)
        mean_x, mean_y = self.feature_sum[group] / count, self.target_sum[targets] / count
        covariance = self.gram[group] / count - torch.outer(mean_x, mean_x)
        cross = self.cross[:, targets] / count - torch.outer(mean_x, mean_y)
        eigenvalues, vectors = torch.linalg.eigh(covariance)
        spanned = eigenvalues > eigenvalues[-1].clamp(min=0.0) * len(eigenvalues) * torch.finfo(torch.float64).eps
        projected = torch.where(spanned[:, None], vectors.T @ cross, 0.0)
        divisors = torch.where(spanned, eigenvalues, 1.0)
        weights = torch.stack([vectors @ (projected / (divisors + penalty)[:, None]) for penalty in penalties])
        return weights, mean_y - torch.einsum("f,pft->pt", mean_x, weights)
