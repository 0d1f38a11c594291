"""The rollout guard: it watches every step of every case and member, and stops one that has left the physical."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.normalise import Statistics
from graphs.mesh import Mesh

WIDENING = 0.5  # by this share of its width the training range grows, half of that on either side
LEAST_REACH = 1e-3  # of the training values' standard deviation
SPREAD_RANGE = (0.2, 5.0)  # of the training fields' standard deviation over the nodes


@dataclass(frozen=True)
class Stop:
    """Why one case and member went no further than the step before; no place where the whole field is at fault."""

    case: int
    member: int
    step: int
    variable: str
    reason: str
    place: str

    def __str__(self) -> str:
        what = f"{self.variable} {self.reason}{f' at {self.place}' if self.place else ''}"
        return f"case {self.case}, member {self.member} stopped at step {self.step}: {what}"


@dataclass(frozen=True, eq=False)
class Guard:
    """Bounds of what an emulator was trained on.

    A value must be finite and lie in the training range widened by half, a quarter of it on either side; the standard
    deviation over the nodes must lie in 0.2 to 5 times the training fields'.

    statistics: of the forecast variables in training. mesh: for the place of a fault.
    valid: [node, variable] where the training data had values; other nodes are not looked at.
    """

    statistics: Statistics
    mesh: Mesh
    valid: NDArray[np.bool_] | None = None

    def check(self, values: NDArray[np.float32], step: int, alive: NDArray[np.bool_]) -> list[Stop]:
        """Return the stops of members still alive, at most one each, for its worst fault.

        values: [case, member, node, variable] of one step; alive: [case, member].
        """
        values = values.astype(np.float64)
        valid = np.ones(values.shape[2:], dtype=bool) if self.valid is None else self.valid
        seen = np.where(valid, values, np.nan)
        statistics = self.statistics
        # What never varied in training may still differ by rounding.
        width = statistics.maximum - statistics.minimum
        reach = np.maximum(WIDENING / 2 * width, LEAST_REACH * statistics.std)
        lowest, highest = statistics.minimum - reach, statistics.maximum + reach
        broken = valid & ~np.isfinite(values)  # [case, member, node, variable]
        with np.errstate(invalid="ignore"):
            outside = (seen < lowest) | (seen > highest)
            spread = _spread(seen, valid)  # [case, member, variable]
            ratio = spread / np.where(statistics.spatial_std > 0, statistics.spatial_std, np.inf)
            odd = (ratio < SPREAD_RANGE[0]) | (ratio > SPREAD_RANGE[1])
        odd &= statistics.spatial_std > 0
        faulty = alive & (broken.any(axis=(2, 3)) | outside.any(axis=(2, 3)) | odd.any(axis=2))
        stops = []
        for case, member in np.argwhere(faulty):
            at, place = (case, member), ""
            if broken[at].any():
                node, variable = np.argwhere(broken[at])[0]
                reason, place = "is not a finite number", self._place(int(node))
            elif outside[at].any():
                excess = np.where(outside[at], np.maximum(lowest - seen[at], seen[at] - highest) / reach, 0)
                node, variable = np.unravel_index(int(np.nanargmax(excess)), excess.shape)
                reason = f"is {seen[at][node, variable]:.5g}, outside {lowest[variable]:.5g} to {highest[variable]:.5g}"
                place = self._place(int(node))
            else:
                variable = int(np.argmax(odd[at]))
                reason = f"varies over the nodes {ratio[at][variable]:.2g} times as much as in training"
            stops.append(Stop(int(case), int(member), step, statistics.names[variable], reason, place))
        return stops

    def _place(self, node: int) -> str:
        if self.mesh.domain.kind == "ring":
            return f"x = {node / self.mesh.num_nodes * self.mesh.domain.size:.4g}"
        return f"{self.mesh.latitudes[node]:.2f} N, {self.mesh.longitudes[node]:.2f} E"


def _spread(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation [case, member, variable] over valid nodes, unweighted as in the statistics."""
    count = valid.sum(axis=0)
    mean = np.where(valid, values, 0.0).sum(axis=2, keepdims=True) / count
    return np.sqrt(np.where(valid, (values - mean) ** 2, 0.0).sum(axis=2) / count)
