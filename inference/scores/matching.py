"""Matching finds the truth valid at each initial time plus lead time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.data.forecast import Forecast, accumulated
from emulator.data.sources import FieldsView
from emulator.fields import Fields
from graphs.errors import MeshcastError


class LatestRead(FieldsView):
    """The truth, whose latest fields, and initial ones, are kept for the forecasts that are scored side by side."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self._kept: dict[tuple[bytes, bytes, tuple[int, ...]], NDArray[np.floating]] = {}

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        key = times.tobytes(), rows.tobytes(), tuple(columns)
        if key not in self._kept:
            self._kept = dict(list(self._kept.items())[-1:])  # room for one beside the latest
            self._kept[key] = super()._read(times, rows, columns)
        return self._kept[key]


@dataclass(frozen=True, eq=False)
class MatchedTruth:
    """Where in the truth a forecast's fields are found.

    variables: those verified.
    time_index: [case, 1 + lead] of the initial time and every valid time, -1 without truth.
    row: [case] on the truth's ensemble axis.
    """

    truth: Fields
    variables: tuple[str, ...]
    time_index: NDArray[np.int64]
    row: NDArray[np.int64]

    @property
    def has_truth(self) -> NDArray[np.bool_]:
        """Return where a forecast has truth, [case, lead]."""
        return self.time_index[:, 1:] >= 0

    def read(self, cases: slice, leads: slice) -> NDArray[np.float32]:
        """Return the truth at valid times, [case, lead, node, variable], NaN where there is none."""
        return self._read(self.time_index[cases, 1:][:, leads], self.row[cases])

    def initial(self, cases: slice) -> NDArray[np.float32]:
        """Return the truth at initial times, [case, node, variable], NaN where there is none."""
        return self._read(self.time_index[cases, :1], self.row[cases])[:, 0]

    def _read(self, index: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        values = np.full((*index.shape, self.truth.mesh.num_nodes, len(self.variables)), np.nan, dtype=np.float32)
        for row in np.unique(rows):
            cases = np.flatnonzero(rows == row)
            wanted = index[cases]
            times, place = np.unique(wanted, return_inverse=True)
            there = times[times >= 0]
            if there.size == 0:
                continue
            fields = np.full((len(times), *values.shape[2:]), np.nan, dtype=np.float32)
            fields[times >= 0] = self.truth.read(there, self.variables, int(row))[:, 0]
            values[cases] = fields[place.reshape(wanted.shape)]
        return values


def match(forecast: Forecast, label: str, truth: Fields, variables: tuple[str, ...]) -> MatchedTruth:
    """Return where in the truth a forecast's fields are found.

    Raises MeshcastError where the meshes differ, or where no lead of any case has truth.
    """
    if not forecast.mesh.same_nodes(truth.mesh):
        raise MeshcastError(
            f"{label} lives on a {forecast.mesh.describe()}, the truth {truth.source} on a {truth.mesh.describe()}. "
            "Forecast and truth must have the same nodes; regrid one of them first."
        )
    refuse_several_truths(forecast, label, truth)
    if sums := sorted(set(accumulated(forecast.attributes)) & set(variables)):
        raise MeshcastError(
            f"{label} holds {', '.join(sums)} as sums since the output before, which no field of the truth "
            f"{truth.source} is. Forecast without --accumulate, or leave these variables out."
        )
    times = np.concatenate([forecast.init_time[:, None], forecast.valid_time], axis=1)
    index = np.searchsorted(truth.times, times).clip(0, len(truth.times) - 1)
    index[truth.times[index] != times] = -1
    index[np.isin(index, sorted(truth.missing))] = -1
    rows, known = _rows(forecast, truth)
    index[~known] = -1
    found = MatchedTruth(truth, variables, index, rows)
    if not found.has_truth.any():
        first, last = map(truth.time_step.moment, truth.times[[0, -1]])
        start, end = map(forecast.time_step.moment, (times[:, 1:].min(), times.max()))
        if not known.any():
            numbers = np.unique(forecast.trajectory).tolist()
            first_few = ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)
            begun = "from states of no trajectory" if numbers == [-1] else f"from trajectory {first_few}"
            raise MeshcastError(
                f"{label} begins {begun}, but the truth {truth.source} holds trajectories 0 to "
                f"{truth.ensemble_size - 1}, and which is meant is unknown: nothing to verify. Forecast from the "
                "simulated dataset itself, with --trajectories, or give a truth of one trajectory."
            )
        raise MeshcastError(
            f"{label} is valid from {start} to {end}, but the truth {truth.source} covers {first} to {last} every "
            f"{truth.time_step}, with {truth.ensemble_size} trajectories or members: nothing to verify. Give a truth "
            "that covers the forecast."
        )
    return found


def refuse_several_truths(forecast: Forecast, label: str, truth: Fields) -> None:
    """Raise MeshcastError where nothing says which row of the truth a case is to be scored against."""
    if truth.ensemble_axis == "trajectory":
        return
    if truth.ensemble_size > 1:
        raise MeshcastError(
            f"The truth {truth.source} holds {truth.ensemble_size} fields at each time, which may be members of one "
            "ensemble or independent trajectories. Where they are trajectories say --trajectories number (or name "
            "their dimension; data.test.trajectories in a configuration), and forecast with it, too; of an ensemble "
            "choose the member that counts as the truth, as --trajectories 0:1."
        )
    if len(numbers := np.unique(forecast.trajectory[forecast.trajectory >= 0])) > 1:
        raise MeshcastError(
            f"{label} begins from {len(numbers)} trajectories, but the truth {truth.source} is a single one. Give the "
            "truth of each: a dataset, or files with --trajectories."
        )


def common_variables(
    forecasts: Sequence[Forecast], labels: Sequence[str], truth: Fields, left_out: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and units of the variables that every forecast and the truth have in the same units.

    Others are named in `left_out`. Raises MeshcastError where nothing remains.
    """
    units = dict(zip(truth.variables, truth.units, strict=True))
    kept = []
    for name in dict.fromkeys(name for forecast in forecasts for name in forecast.variables):
        without = [label for label, forecast in zip(labels, forecasts, strict=True) if name not in forecast.variables]
        if name not in units:
            left_out.append(f"variable {name}: the truth {truth.source} does not have it")
        elif without:
            left_out.append(f"variable {name}: {', '.join(without)} does not forecast it")
        else:
            given = zip(labels, (forecast.units[forecast.variables.index(name)] for forecast in forecasts), strict=True)
            other = [f"{label} in {unit}" for label, unit in given if _spelling(unit) != _spelling(units[name])]
            if other:
                left_out.append(f"variable {name}: the truth is in {units[name]}, {', '.join(other)}")
            else:
                kept.append(name)
    if not kept:
        raise MeshcastError("No variable can be verified: " + "; ".join(left_out) + ".")
    return tuple(kept), tuple(units[name] for name in kept)


def _spelling(unit: str) -> str:
    """Return a unit in one spelling: GRIB writes m s**-1 where CF writes m s-1."""
    return unit.replace("**", "").replace("^", "").strip()


def _rows(forecast: Forecast, truth: Fields) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return each case's row on the truth's ensemble axis, the first of real data, and whether the truth has it."""
    trajectory = forecast.trajectory
    if truth.ensemble_axis == "member":
        return np.zeros_like(trajectory), np.full(len(trajectory), True)
    known = (trajectory < truth.ensemble_size) & ((trajectory >= 0) | (truth.ensemble_size == 1))
    return np.where(known, trajectory.clip(0), 0), known


def without_truth(forecast: Forecast, has_truth: NDArray[np.bool_]) -> list[str]:
    """Return one sentence for each set of leads that lacks truth, naming the cases by `has_truth` [case, lead]."""
    sentences: dict[str, list[str]] = {}
    for case, there in enumerate(has_truth):
        if there.all():
            continue
        leads = _ranges(forecast.lead_steps[~there]) if there.any() else "all leads"
        start, trajectory = forecast.time_step.moment(forecast.init_time[case]), forecast.trajectory[case]
        sentences.setdefault(leads, []).append(start if trajectory < 0 else f"trajectory {trajectory} from {start}")
    return [f"no truth at {leads} of {', '.join(starts)}" for leads, starts in sentences.items()]


def _ranges(steps: NDArray[np.int64]) -> str:
    """Return `steps 1 to 4, 7`: consecutive steps as one range."""
    runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    ranges = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    return f"{'step' if len(steps) == 1 else 'steps'} {ranges}"
