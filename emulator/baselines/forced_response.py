"""What global forcings make of a climate, by formula: impulse responses, pattern scaling, and a curved response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.baselines.global_mean_response import Expected, GlobalMean
from emulator.baselines.penalised_fit import Penalty, Sums, chosen_penalty
from emulator.features.conservation import bounds_of
from emulator.features.periodic_mean import NUM_BINS, bin_of
from emulator.state import State, Step
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart, without_inputs
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

Array = NDArray[np.float64]
PIECES = 16  # of the training times, the later ones each forecast by a response to those before it
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class ForcedConfig(BaselineConfig):
    """A climate that follows its forcings alone, each a number of the globe at a time.

    by: what the response depends on besides the node: nothing, or the calendar month.
    penalties: on the squared coefficients that are penalised, each times its feature's standard deviation, in units of
        the samples; of several, for each variable the one that forecasts the later training times best from earlier
        ones.
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
    (Santer et al. 1990; Tebaldi and Arblaster 2014, doi:10.1007/s10584-013-1032-9).

    expected: what is known of β_k, as of a `ForcedResponseConfig`.
    """

    kind: Literal["pattern_scaling"] = "pattern_scaling"
    penalties: tuple[float, ...] = (0.0,)
    expected: dict[str, Expected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_no_distributions(self.expected)

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
        _refuse_no_distributions({**self.expected, "the curvature": self.curvature})

    def in_words(self) -> str:
        return "a forced response of global mean and patterns"


def _refuse_no_distributions(expected: Mapping[str, Expected]) -> None:
    for name, (mean, std) in expected.items():
        if not (np.isfinite(mean) and std >= 0):
            raise MeshcastError(f"What is expected of {name} is a mean and a standard deviation, not {mean}, {std}.")


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
        self.seen[:] = torch.tensor([number in sums for number in range(len(self.seen))])
        chosen, count = [], len(self.task.predicted)
        for variable in range(count):
            of_bin = {
                number: [piece.of_variable(variable, count) for piece in pieces] for number, pieces in sums.items()
            }
            penalty = chosen_penalty(of_bin.values(), self._candidates(variable), self.mesh.areas)
            chosen.append(penalty.size)
            for number, pieces in of_bin.items():
                total = sum(pieces[1:], start=pieces[0])
                self.weights[number, :, :, variable] = torch.from_numpy(total.solved(penalty.size, penalty.penalised))
        self.config = replace(self.config, penalties=tuple(chosen))
        return self

    def _count(self) -> int:
        return {"pattern_scaling": 1, "impulse_response": 0}.get(self.config.kind, 2) + (
            0 if isinstance(self.config, PatternScalingConfig) else len(self.task.forcing)
        )

    def _candidates(self, variable: int) -> list[Penalty]:
        """Return the penalties to choose from; that of the pattern p too, where it need not add up to the global mean.

        The pattern of the first variable does; another, such as rain, may hardly follow the global mean.
        """
        if isinstance(self.config, ImpulseResponseConfig):
            free = [1]  # the mean without forcing
        elif isinstance(self.config, PatternScalingConfig) or variable == 0:
            free = [2]  # and the pattern
        else:
            free = [2, 1]
        places = np.arange(1 + self._count())
        return [Penalty(size, places >= first) for first in free for size in sorted(self.config.penalties)]

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
        assert isinstance(self.config, ForcedResponseConfig | PatternScalingConfig)
        curvature = self.config.curvature if isinstance(self.config, ForcedResponseConfig) else (0.0, 0.0)
        slopes, curved = series.response(self.task.forcing, self.config.expected, curvature)
        self.slopes.copy_(torch.from_numpy(slopes))
        self.curvature.fill_(curved)

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
        edges = np.linspace(part.available[0], part.available[-1] + 1, PIECES + 1)
        sums: dict[int, list[Sums]] = {}
        for block in self._blocks(part):
            found = self._features(torch.from_numpy(block.forcing)).numpy(force=True)
            features = np.concatenate([np.ones((len(found), 1)), found], axis=1)
            piece = np.searchsorted(edges, block.index, side="right") - 1
            targets = block.values.reshape(*block.values.shape[:2], -1)
            for number in np.unique(bins := bin_of(block.times, self.config.by)):
                pieces = sums.setdefault(int(number), [Sums.zero(features.shape[1], targets.shape[2])] * PIECES)
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
