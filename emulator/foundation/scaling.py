"""How a variable's values become numbers of order one: transforms that take away a tail, and normalisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from graphs.errors import MeshcastError
from graphs.kinds import ByKindOrName

# mean_std: less the mean, over the standard deviation. max: over the largest size. min_max: from 0 to 1. robust: less
# the median, over what the interquartile range is of a normal distribution's standard deviation. unscaled: as they are.
Normaliser = Literal["mean_std", "max", "min_max", "robust", "unscaled"]
Imputation = Literal["mean", "nearest"] | float


@dataclass(frozen=True, kw_only=True)
class Log1p:
    """ln(1 + x / scale), of values from zero up.

    scale: in the variable's units, where the straight part ends; its standard deviation in training by default.
    """

    kind: Literal["log1p"] = "log1p"
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise MeshcastError(f"The scale of log1p must be positive, but is {self.scale:g}.")


@dataclass(frozen=True, kw_only=True)
class Sqrt:
    """√x, of values from zero up."""

    kind: Literal["sqrt"] = "sqrt"


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """The normal deviate of the share of training values below x, for whatever distribution, such as rain's.

    Many values that equal the lowest, as dry places do, become one number, the normal deviate of half their share; what
    a network says below the deviate of their whole share is that lowest value.

    knots: quantiles between which the function is straight, evenly spaced in normal deviates. Beyond the highest
        training value it goes on straight.
    """

    kind: Literal["quantile"] = "quantile"
    knots: int = 128

    def __post_init__(self) -> None:
        if not 3 <= self.knots <= 4096:
            raise MeshcastError(f"A quantile transform has 3 to 4096 knots, not {self.knots}.")


Transform = Annotated[Log1p | Sqrt | Quantile, ByKindOrName]
TRANSFORMS = {"log1p": Log1p, "sqrt": Sqrt, "quantile": Quantile}
