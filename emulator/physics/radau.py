"""An implicit Runge-Kutta scheme for a diagonal, stiff linear part and sources that depend on the state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphs.errors import MeshcastError

_ROOT = 6**0.5
NODES = ((4 - _ROOT) / 10, (4 + _ROOT) / 10, 1.0)  # shares of a step at which its stages are
WEIGHTS = (
    ((88 - 7 * _ROOT) / 360, (296 - 169 * _ROOT) / 1800, (-2 + 3 * _ROOT) / 225),
    ((296 + 169 * _ROOT) / 1800, (88 + 7 * _ROOT) / 360, (-2 - 3 * _ROOT) / 225),
    ((16 - _ROOT) / 36, (16 + _ROOT) / 36, 1 / 9),
)
MOST_ITERATIONS = 100
TOLERANCE = 1e-12  # of the largest amplitude

Sources = Callable[[Tensor], Tensor]


class RadauIIA:
    """Three stages of order five, L-stable, for z' = -λ z + g(z); Hairer & Wanner (1996), table IV.5.6.

    The linear part is solved exactly for each mode, the stages of g by iteration. The last stage is the step's end.

    rates: [mode] λ >= 0. dt: the step. DOI of the book: 10.1007/978-3-642-05221-7.
    """

    def __init__(self, rates: Tensor, dt: float) -> None:
        weights = torch.tensor(WEIGHTS, dtype=rates.dtype)
        inverse = torch.linalg.inv(torch.eye(3, dtype=rates.dtype) + dt * rates[:, None, None] * weights)
        self.dt = dt
        self.of_start = inverse.sum(dim=-1).T[:, None]  # [stage, 1, mode]
        self.of_source = (dt * inverse @ weights).permute(1, 2, 0)  # [stage, stage, mode]

    def stages(self, z: Tensor, source: Sources) -> Tensor:
        """Return the stages [stage, row, mode] of a step from z [row, mode].

        source: takes stages and returns g [stage, row, mode] of them.
        Raises MeshcastError where the iteration does not converge.
        """
        start = self.of_start * z
        found = z.expand(3, *z.shape)
        change = float("inf")
        for _ in range(MOST_ITERATIONS):
            following = start + torch.einsum("ijm,jrm->irm", self.of_source, source(found))
            change, found = float((following - found).abs().max()), following
            if change <= TOLERANCE * (1.0 + float(found.abs().max())):
                return found
            if not change < 1e6:  # not a number, too
                break
        raise MeshcastError(
            f"The stages of a step of {self.dt:g} do not converge: they still change by {change:.1g}. Shorten it."
        )
