"""What stops a forecast: values that are no numbers, or far outside of what the emulator was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emulator.data.starts import InitialConditions
from emulator.normalise import Statistics
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

WIDENING = 1.0  # by this share of its width the training range grows, half of that on either side
LEAST_REACH = 1e-3  # of the training values' standard deviation
LEAST_SPREAD = 0.2  # of the flattest training field's, or of the climatology's where that is flatter
MEAN_FIELD_SHARE = 0.5  # of the fields' spread; a climatology that varies less is taken for flat
MOST_SPREAD = (5.0, 2.0)  # of the training fields' mean spread and of their largest, whichever is more


@dataclass(frozen=True)
class Stop:
    """Why one case and member went no further than the step before.

    place: empty where the whole field is at fault. start: trajectory and initial time of the case, for people.
    """

    case: int
    member: int
    step: int
    variable: str
    reason: str
    place: str
    start: str = ""

    def __str__(self) -> str:
        what = f"{self.variable} {self.reason}{f' at {self.place}' if self.place else ''}"
        case = f"case {self.case}{f' ({self.start})' if self.start else ''}"
        return f"{case}, member {self.member} stopped at step {self.step}: {what}"

    @classmethod
    def read(cls, text: str) -> Stop:
        """Return the stop of a line, which it says again; its place stands with its reason."""
        found = re.fullmatch(
            r"case (\d+)(?: \((.*)\))?, member (\d+) stopped at step (\d+): (\S+) (.*)", text, re.DOTALL
        )
        if found is None:
            raise MeshcastError(f"{text!r} does not say where a forecast was stopped.")
        number, start, member, step, variable, reason = found.groups()
        return cls(int(number), int(member), int(step), variable, reason, "", start or "")


def with_starts(stops: Sequence[Stop], initial: InitialConditions, task: Task) -> list[Stop]:
    """Return the stops with the trajectory and the initial time of their cases."""
    named = []
    for stop in stops:
        row = initial.trajectory[stop.case]
        moment = task.time_step.moment(initial.state.valid_time[stop.case])
        named.append(replace(stop, start=f"trajectory {row}, from {moment}" if row >= 0 else f"from {moment}"))
    return named


@dataclass(frozen=True, eq=False)
class Guard:
    """Bounds of what an emulator was trained on.

    A value must be finite and lie within twice the training range, half of its width more on either side. The standard
    deviation over the nodes must be at most 5 times the training fields', or twice their largest. It must be at least a
    fifth of the flattest training field's, or of the climatology's where that is flatter. There is no such bound where
    the climatology itself is flat, as on a ring or of anomalies: a damped forecast tends to it, and the waves of a
    decaying equation end there.

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
            least, most = self._spread_bounds()
            odd = (statistics.spatial_std > 0) & ((spread < least) | (spread > most))
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
                ratio = spread[at][variable] / statistics.spatial_std[variable]
                reason = f"varies over the nodes {ratio:.2g} times as much as in training"
            stops.append(Stop(int(case), int(member), step, statistics.names[variable], reason, place))
        return stops

    def damped(self, values: NDArray[np.float32]) -> list[str]:
        """Return a line for each variable whose fields [case, member, node, variable] vary far less than in training.

        That is right for the mean of all that may happen, but is no state that may happen.
        """
        usual = self.statistics.spatial_std
        going_on = np.isfinite(values).any(axis=(2, 3))
        valid = np.ones(values.shape[2:], dtype=bool) if self.valid is None else self.valid
        flat = _spread(np.where(valid, values, np.nan).astype(np.float64), valid)[going_on] < LEAST_SPREAD * usual
        return [
            f"{name} varies over the nodes less than a fifth as much as in training at the end of {count} of "
            f"{len(flat)} forecasts: these are damped towards a mean, or have decayed."
            for name, count in zip(self.statistics.names, flat.sum(axis=0), strict=True)
            if count
        ]

    def _spread_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest standard deviation over the nodes, [variable] each."""
        known, usual = self.statistics, self.statistics.spatial_std
        if known.smallest_spatial_std is None or known.largest_spatial_std is None or known.mean_field_std is None:
            return np.zeros_like(usual), MOST_SPREAD[0] * usual
        no_climatology = known.mean_field_std < MEAN_FIELD_SHARE * usual
        least = LEAST_SPREAD * np.minimum(known.smallest_spatial_std, known.mean_field_std)
        most = np.maximum(MOST_SPREAD[0] * usual, MOST_SPREAD[1] * known.largest_spatial_std)
        return np.where(no_climatology, 0.0, least), most

    def _place(self, node: int) -> str:
        if self.mesh.domain.kind == "ring":
            return f"x = {node / self.mesh.num_nodes * self.mesh.domain.size:.4g}"
        return f"{self.mesh.latitudes[node]:.2f} N, {self.mesh.longitudes[node]:.2f} E"


def _spread(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation [case, member, variable] over valid nodes, unweighted as in the statistics."""
    count = valid.sum(axis=0)
    mean = np.where(valid, values, 0.0).sum(axis=2, keepdims=True) / count
    return np.sqrt(np.where(valid, (values - mean) ** 2, 0.0).sum(axis=2) / count)
