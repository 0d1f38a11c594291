"""What global forcings make of a climate, by formula: impulse responses, pattern scaling, and a curved response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.baselines.global_mean_response import Expected, GlobalMean
from emulator.baselines.penalised_fit import Sums, chosen_penalty
from emulator.features.conservation import bounds_of
from emulator.features.periodic_mean import NUM_BINS, bin_of
from emulator.state import State, Step
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart, without_inputs
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

Array = NDArray[np.float64]
FOLDS = 16  # pieces of the training times, each forecast by a response to the others
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class ForcedConfig(BaselineConfig):
    """A climate that follows its forcings alone, each a number of the globe at a time.

    by: what the response depends on besides the node: nothing, or the calendar month.
    penalties: on the squared coefficients that are penalised, each times its feature's standard deviation, in units of
        the samples; of several the one that forecasts pieces of the training times best that it has not seen.
    """

    by: Literal["none", "month"] = "none"
    penalties: tuple[float, ...] = PENALTIES

    def __post_init__(self) -> None:
        if not self.penalties or not all(0 <= penalty < np.inf for penalty in self.penalties):
            raise MeshcastError(f"penalties must be one or more numbers from 0, but are {list(self.penalties)}.")

    def build(self, task: Task, mesh: Mesh) -> ForcedResponse:
        return ForcedResponse(self, task, mesh)


@dataclass(frozen=True)
class ImpulseResponseConfig(ForcedConfig):
    """x_i(t) = a_i + Σ_k b_ik f_k(t): each node responds to each forcing f_k; with memories of a forcing for the f_k
    (`task.memory`), its impulse response is a sum of exponentials."""

    kind: Literal["impulse_response"] = "impulse_response"

    def in_words(self) -> str:
        return "an impulse response of each node"


@dataclass(frozen=True)
class PatternScalingConfig(ForcedConfig):
    """x_i(t) = a_i + p_i g(t), with g(t) = Σ_k β_k f_k(t) the forced global mean of the first variable
    (Santer et al. 1990; Tebaldi and Arblaster 2014, doi:10.1007/s10584-013-1032-9)."""

    kind: Literal["pattern_scaling"] = "pattern_scaling"
    penalties: tuple[float, ...] = (0.0,)

    def in_words(self) -> str:
        return "pattern scaling [@tebaldi2014]"


@dataclass(frozen=True)
class ForcedResponseConfig(ForcedConfig):
    """x_i(t) = a_i + p_i g(t) + q_i g²(t) + Σ_k b_ik f_k(t), with g the forced global mean of the first variable,

        g = h + c h²,  h(t) = Σ_k β_k f_k(t),

    since feedbacks change with temperature. All but a and p are penalised, so that it lies between pattern scaling and
    an impulse response of each node.

    expected: what is known of β_k from elsewhere: mean and standard deviation, such as `{fast: [0.5, 0.07]}` K per
        W m-2; nothing is taken to be known of others.
    curvature: the same of c [1/K]; its default allows what models do (Bloch-Johnson et al. 2021,
        doi:10.1029/2020GL089074). A standard deviation of 0 holds it.
    """

    kind: Literal["forced_response"] = "forced_response"
    expected: dict[str, Expected] = field(default_factory=dict)
    curvature: Expected = (0.0, 0.04)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (mean, std) in {**self.expected, "the curvature": self.curvature}.items():
            if not (np.isfinite(mean) and std >= 0):
                raise MeshcastError(
                    f"What is expected of {name} is a mean and a standard deviation, not {mean}, {std}."
                )

    def in_words(self) -> str:
        return "a forced response of global mean and patterns"


class ForcedResponse(Baseline):
    """The closed form that a `ForcedConfig` describes.

    slopes: [forcing] β. curvature: c. offset: of the global mean without forcing.
    weights: [bin, 1 + feature, node, predicted] a, p, ... in physical units. seen: [bin] whether the training part
        holds such a month.
    """

    config: ForcedConfig

    def __init__(self, config: ForcedConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, without_inputs(task, *task.forcing), mesh)
        if not task.forcing:
            raise MeshcastError(f"A {config.kind} needs forcings, but the task has none. Name them as task.forcing.")
        shape = NUM_BINS[config.by], 1 + self._count(), mesh.num_nodes, len(self.task.predicted)
        self.slopes = nn.Buffer(torch.zeros(len(task.forcing), dtype=torch.float64))
        self.curvature = nn.Buffer(torch.zeros((), dtype=torch.float64))
        self.weights = nn.Buffer(torch.zeros(shape, dtype=torch.float64))
        self.seen = nn.Buffer(torch.ones(shape[0], dtype=torch.bool))
        lower, upper = bounds_of(self.task.predicted)
        self.lower, self.upper = nn.Buffer(lower, persistent=False), nn.Buffer(upper, persistent=False)

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        valid_time = self.task.time_step.advance(state.valid_time)
        values = self.response(forcing[:, -1, 0, : len(self.slopes)], bin_of(valid_time, self.config.by))
        values = values.unsqueeze(1).expand(-1, state.values.shape[1], -1, -1).to(state.values.dtype)
        count = len(self.task.prognostic)
        return state.followed_by(values[..., :count], valid_time), values[..., count:] if self.task.diagnostic else None

    def response(self, forcing: Tensor, bins: NDArray[np.int64] | None = None) -> Tensor:
        """Return values [time, node, predicted] under forcings [time, forcing], in bins [time], see `bin_of`.

        Raises MeshcastError in a month that the training part does not hold.
        """
        forcing = forcing.to(self.weights)
        features = torch.cat([torch.ones_like(forcing[:, :1]), self._features(forcing)], dim=1)
        which = torch.zeros(len(forcing), dtype=torch.int64) if bins is None else torch.from_numpy(bins)
        if not self.seen[which.to(self.seen.device)].all():
            raise MeshcastError(f"The {self.config.kind} was fitted on no {self.config.by} such as it is to forecast.")
        weights = self.weights[which.to(self.weights.device)]
        values = torch.einsum("tf,tfnv->tnv", features, weights)
        return values.clamp(self.lower.to(values), self.upper.to(values))

    def fit(self, part: TrainingPart) -> Self:
        """Return it fitted, with the penalty that forecasts best what it has not seen.

        Raises MeshcastError where a forcing differs from node to node, and where none of them varies.
        """
        if not isinstance(self.config, ImpulseResponseConfig):
            self._fit_global_mean(part)
        sums = self._sums(part)
        chosen = chosen_penalty(sums, self.config.penalties, self._penalised(), self.mesh.areas)
        self.config = replace(self.config, penalties=(chosen,))
        self.seen[:] = torch.tensor([number in sums for number in range(len(self.seen))])
        for number, pieces in sums.items():
            total = sum(pieces[1:], start=pieces[0])
            solved = total.solved(chosen, self._penalised())
            self.weights[number] = torch.from_numpy(solved.reshape(self.weights.shape[1:]))
        return self

    def _count(self) -> int:
        return {"pattern_scaling": 1, "impulse_response": 0}.get(self.config.kind, 2) + (
            0 if isinstance(self.config, PatternScalingConfig) else len(self.task.forcing)
        )

    def _penalised(self) -> NDArray[np.bool_]:
        """Return which features [1 + feature] a penalty holds back."""
        free = 1 if isinstance(self.config, ImpulseResponseConfig) else 2
        return np.arange(1 + self._count()) >= free

    def _features(self, forcing: Tensor) -> Tensor:
        """Return [time, feature] of forcings [time, forcing]."""
        if isinstance(self.config, ImpulseResponseConfig):
            return forcing
        warming = self.warming(forcing)[:, None]
        if isinstance(self.config, PatternScalingConfig):
            return warming
        return torch.cat([warming, warming**2, forcing], dim=1)

    def warming(self, forcing: Tensor) -> Tensor:
        """Return the forced global mean g [time] of the first variable, over that without forcing."""
        straight = forcing @ self.slopes.to(forcing)
        return straight + self.curvature.to(forcing) * straight**2

    def _fit_global_mean(self, part: TrainingPart) -> None:
        forcing, mean, which, bins = [], [], [], []
        for block in self._blocks(part):
            known = ~np.isnan(block.values[0, 0, :, 0])
            areas = self.mesh.areas[known] / self.mesh.areas[known].sum()
            for row, values in zip(block.rows, np.moveaxis(block.values[:, :, known, 0], 1, 0), strict=True):
                forcing.append(block.forcing)
                mean.append(values @ areas)
                which.append(np.full(len(values), row))
                bins.append(bin_of(block.times, self.config.by))
        design = np.concatenate(forcing)
        if (np.ptp(design, axis=0) == 0).all():
            raise MeshcastError(f"None of {', '.join(self.task.forcing)} varies in the training part.")
        series = GlobalMean(design, np.concatenate(mean), np.concatenate(which), np.concatenate(bins))
        told = (
            (self.config.expected, self.config.curvature)
            if isinstance(self.config, ForcedResponseConfig)
            else ({}, None)
        )
        slopes, curvature = series.response(self.task.forcing, *told)
        self.slopes.copy_(torch.from_numpy(slopes))
        self.curvature.fill_(curvature)

    def _blocks(self, part: TrainingPart) -> Iterator[_Block]:
        names, forcing = names_of(self.task.predicted), self.task.forcing
        masked: NDArray[np.bool_] | None = None  # [node, predicted]
        for index, values, _ in part.chunks(self.task, names, overlap=0):
            masked = np.isnan(values[0, 0]) if masked is None else masked
            if (np.isnan(values) != masked).any():
                column = int(np.argwhere(np.isnan(values) != masked)[0][3])
                raise MeshcastError(
                    f"{part.fields.source} lacks {names[column]} at some times where it has it at others, so that its "
                    "response is not known. Fill the gaps first."
                )
            times = part.fields.times[index]
            for number, rows in part.differently_forced(forcing).items():
                given = part.provider.at(times, forcing, self.mesh.num_nodes, None, np.full(len(times), number))
                spread = np.ptp(given, axis=1).max(axis=0)
                if spread.max() > 0:
                    raise MeshcastError(
                        f"A {self.config.kind} follows forcings of the globe, but {forcing[int(spread.argmax())]} "
                        "differs from node to node. Leave it away."
                    )
                places = np.arange(values.shape[1])[rows]
                yield _Block(values[:, places], given[:, 0], times, index, places)

    def _sums(self, part: TrainingPart) -> dict[int, list[Sums]]:
        """Return the normal equations of each bin, in pieces of the training times."""
        edges = np.linspace(part.available[0], part.available[-1] + 1, FOLDS + 1)
        sums: dict[int, list[Sums]] = {}
        for block in self._blocks(part):
            found = self._features(torch.from_numpy(block.forcing)).numpy(force=True)
            features = np.concatenate([np.ones((len(found), 1)), found], axis=1)
            piece = np.searchsorted(edges, block.index, side="right") - 1
            targets = block.values.reshape(*block.values.shape[:2], -1)
            for number in np.unique(bins := bin_of(block.times, self.config.by)):
                pieces = sums.setdefault(int(number), [Sums.zero(features.shape[1], targets.shape[2])] * FOLDS)
                for fold in np.unique(piece):
                    here = (bins == number) & (piece == fold)
                    for row in range(targets.shape[1]):
                        pieces[fold] += Sums.of(features[here], targets[here, row])
        return sums


@dataclass(frozen=True, eq=False)
class _Block:
    """Some of the training times, of rows under the same forcings.

    values: [time, row, node, predicted]. forcing: [time, forcing]. times, index: [time]. rows: their places.
    """

    values: Array
    forcing: Array
    times: NDArray[np.int64]
    index: NDArray[np.int64]
    rows: NDArray[np.int64]
