"""Transforms of variables, fitted to the training part, and the scales that are left to normalise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.foundation.scaling import Log1p, Quantile, Sqrt
from emulator.task import Variable, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError

MOST_TIMES, MOST_VALUES = 256, 500_000  # of a variable, from which quantiles and scales are taken
ROUNDING = 1e-3  # of a standard deviation: what packing may leave below zero of a variable that is never negative
NORMAL_QUARTILES = 1.3489795003921634  # interquartile range of the normal distribution with standard deviation one
MOST_EXPONENT = 60.0  # of what log1p undoes, so that no prediction overflows
ATOM = 1e-3  # share of values equal to the lowest from which they count as one number


class Transforms(nn.Module):
    """The transforms of some variables, as functions of [..., variable]; the identity where there are none.

    of: by the variable's place among them.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        super().__init__()
        self.variables = tuple(variables)
        found = {str(place): _build(variable) for place, variable in enumerate(variables) if variable.transform}
        self.of = nn.ModuleDict(found)

    def fit(self, samples: Mapping[int, NDArray[np.float64]]) -> None:
        """Take parameters from training values [value] of each place, none of them NaN.

        Raises MeshcastError where values are negative that must not be, and where a quantile's are all the same.
        """
        for place, transform in self.of.items():
            cast(OneTransform, transform).fit(samples[int(place)], self.variables[int(place)].name)

    def forward(self, values: Tensor) -> Tensor:
        """Return values [..., variable] transformed; of the first variables only where there are no more columns."""
        return self._each(values, [(int(place), transform) for place, transform in self.of.items()])

    def inverse(self, values: Tensor) -> Tensor:
        """Return transformed values [..., variable] in physical units."""
        return self._each(
            values, [(int(place), cast(OneTransform, transform).inverse) for place, transform in self.of.items()]
        )

    def of_one(self, place: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values [value] of the variable at a place transformed."""
        transform = self.of[str(place)] if str(place) in self.of else nn.Identity()
        return np.asarray(transform(torch.from_numpy(values)))

    def _each(self, values: Tensor, functions: Sequence[tuple[int, Callable[[Tensor], Tensor]]]) -> Tensor:
        some = {place: function for place, function in functions if place < values.shape[-1]}
        if not some:
            return values
        columns = [some[place](column) if place in some else column for place, column in enumerate(values.unbind(-1))]
        return torch.stack(columns, dim=-1)


class OneTransform(nn.Module):
    """A rising function of one variable, whose parameters follow from training values."""

    def fit(self, values: NDArray[np.float64], name: str) -> None:
        """Take parameters from training values [value]; raises MeshcastError where they are not what it is for."""
        raise NotImplementedError

    def inverse(self, y: Tensor) -> Tensor:
        """Return the value that has this transform, the lowest that is allowed where none has."""
        raise NotImplementedError


class Log1pTransform(OneTransform):
    """y = ln(1 + x / scale), from zero up."""

    def __init__(self, config: Log1p) -> None:
        super().__init__()
        self.config = config
        self.scale = nn.Buffer(torch.ones((), dtype=torch.float64))

    def fit(self, values: NDArray[np.float64], name: str) -> None:
        refuse_negative(values, name, "log1p")
        self.scale.fill_(self.config.scale or float(values.std()) or 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(x.clamp_min(0.0) / self.scale)

    def inverse(self, y: Tensor) -> Tensor:
        return self.scale * torch.expm1(y.clamp(0.0, MOST_EXPONENT))


class SqrtTransform(OneTransform):
    """y = √x, from zero up."""

    def fit(self, values: NDArray[np.float64], name: str) -> None:
        refuse_negative(values, name, "sqrt")

    def forward(self, x: Tensor) -> Tensor:
        above = x > 0
        root = torch.where(above, x, 1.0).sqrt()  # whose slope at zero would be infinite
        return torch.where(above, root, torch.where(torch.isnan(x), x, 0.0))

    def inverse(self, y: Tensor) -> Tensor:
        return y.clamp_min(0.0).square()


class QuantileTransform(OneTransform):
    """y = the normal deviate of the share of training values below x, straight between knots.

    knots: [knot] values, rising. deviates: [knot] their normal deviates, rising.
    atom: normal deviate of the lowest value, below the first of `deviates` where many values are equal to it.
    """

    def __init__(self, config: Quantile) -> None:
        super().__init__()
        self.knots = nn.Buffer(torch.arange(config.knots, dtype=torch.float64))
        self.deviates = nn.Buffer(torch.arange(config.knots, dtype=torch.float64))
        self.atom = nn.Buffer(torch.zeros((), dtype=torch.float64))

    def fit(self, values: NDArray[np.float64], name: str) -> None:
        if not len(values) or values.min() == values.max():
            raise MeshcastError(
                f"task.transforms: {name} is {values[0] if len(values) else np.nan:g} at all of {len(values):,} values "
                "of the training part, and a constant has no quantiles. Leave its transform away."
            )
        values = np.sort(values)
        if -ROUNDING * values.std() <= values[0] < 0:
            values = values.clip(0.0)
        share = float(np.mean(values == values[0]))
        first = share if share > ATOM else 0.5 / len(values)
        deviates = np.linspace(_deviate(first), _deviate(1 - 0.5 / len(values)), len(self.knots))
        knots = np.quantile(values, _share(deviates))
        knots[0] = values[0]
        self.knots.copy_(torch.from_numpy(_rising(knots)))
        self.deviates.copy_(torch.from_numpy(deviates))
        self.atom.fill_(_deviate(share / 2) if share > ATOM else deviates[0])

    def forward(self, x: Tensor) -> Tensor:
        y = _straight(x, self.knots, self.deviates)
        return torch.where(x <= self.knots[0], self.atom.to(y.dtype), y)

    def inverse(self, y: Tensor) -> Tensor:
        x = _straight(y, self.deviates, self.knots)
        return torch.where(y <= self.deviates[0], self.knots[0].to(x.dtype), x)


def refuse_negative(values: NDArray[np.float64], name: str, kind: str) -> None:
    """Raise MeshcastError where a variable has values below zero, by more than rounding."""
    if len(values) and (lowest := float(values.min())) < -ROUNDING * float(values.std()):
        raise MeshcastError(
            f"task.transforms: {kind} is for values from zero up, but {name} is as low as {lowest:g} in the training "
            "part. Leave its transform away, or take kind: quantile."
        )


def training_samples(part: TrainingPart, names: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return values [value] of each variable over the training part, none NaN, drawn at random where there are many."""
    return _drawn(part.available, lambda times: part.fields.read(times, names, part.rows), len(names))


def forcing_samples(part: TrainingPart, names: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return values [value] of each forcing over the training part, as `training_samples` does."""
    fields = part.fields

    def at(times: NDArray[np.int64]) -> NDArray[np.floating]:
        moments = fields.times[times]
        groups = part.differently_forced(names)
        given = [
            part.provider.at(moments, names, fields.mesh.num_nodes, trajectory=np.full(len(moments), trajectory))
            for trajectory in groups
        ]
        return np.stack(given, axis=1)

    return _drawn(part.available, at, len(names))


def _drawn(
    times: NDArray[np.int64], read: Callable[[NDArray[np.int64]], NDArray[np.floating]], count: int
) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    if len(times) > MOST_TIMES:
        times = np.sort(rng.choice(times, MOST_TIMES, replace=False))
    most, found = max(1, MOST_VALUES // len(times)), []
    for time in times:
        values = read(np.array([time])).reshape(-1, count)
        found.append(values if len(values) <= most else values[np.sort(rng.choice(len(values), most, replace=False))])
    return [column[~np.isnan(column)].astype(np.float64) for column in np.concatenate(found).T]


def scales_of(variable: Variable, values: NDArray[np.float64]) -> tuple[float, float]:
    """Return what is taken off transformed training values [value], and what divides them then."""
    if not len(values) or variable.normaliser == "unscaled":
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    match variable.normaliser:
        case "mean_std":
            shift, size = float(values.mean()), float(values.std())
        case "max":
            shift, size = 0.0, max(abs(low), abs(high))
        case "min_max":
            shift, size = low, high - low
        case "robust":
            lower, shift, upper = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
            size = (upper - lower) / NORMAL_QUARTILES or float(values.std())
    return shift, size if size > 0 and low < high else 1.0


def scaled_otherwise(variables: Sequence[Variable]) -> list[int]:
    """Return the places of the variables that are not less their mean over their standard deviation, as they are."""
    return [
        place
        for place, variable in enumerate(variables)
        if variable.transform is not None or variable.normaliser != "mean_std"
    ]


def _build(variable: Variable) -> OneTransform:
    match variable.transform:
        case Log1p() as config:
            return Log1pTransform(config)
        case Sqrt():
            return SqrtTransform()
        case Quantile() as config:
            return QuantileTransform(config)
    raise AssertionError(names_of([variable]))


def _straight(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the function that is straight between knots, and goes on straight beyond; NaN stays NaN."""
    knots, values = knots.to(x.dtype), values.to(x.dtype)
    above = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)
    left, low = knots[above - 1], values[above - 1]
    return low + (x - left) * (values[above] - low) / (knots[above] - left)


def _rising(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return knots of which each is above the one before in single precision too, as equal quantiles are not."""
    step = max(1e-7 * float(knots[-1] - knots[0]), 2.0**-22 * float(np.abs(knots).max()))
    places = step * np.arange(len(knots))
    return np.maximum.accumulate(knots - places) + places


def _deviate(share: float) -> float:
    return float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))


def _share(deviates: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.special.ndtr(torch.from_numpy(deviates)).numpy()
