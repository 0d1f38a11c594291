"""Initial conditions: states to start forecasts from, out of datasets and files, with every fault in one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.data.coordinates import SAME_PLACE, nodes_among
from emulator.data.names import Conversion, canonical_name, conversion
from emulator.data.sources import on_area, open_fields
from emulator.data.starts import InitialConditions, histories, parse_init_times
from emulator.fields import Fields
from emulator.foundation.configuration_faults import nearest
from emulator.normalise import partners_of
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.interpolation.interpolate import interpolation
from graphs.interpolation.weights import Interpolation, Method
from graphs.mesh import EARTH_RADIUS, Mesh

Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
Values = NDArray[np.float32]


def initial_conditions(
    sources: Any,
    task: Task,
    mesh: Mesh,
    init_times: str,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    valid: Mapping[str, Mask] | None = None,
    regrid: Method | None = None,
) -> InitialConditions:
    """Return states of `task` on `mesh` at the asked times.

    sources: see `emulator.data.sources.open_fields`; or fields that are open, as of some trajectories.
    init_times: `T, T`, `START/END/STEP`, `latest` or `all`; for simulated data a plain number is a time of the
        equation's own, zero at a trajectory's first state.
    rename: from a source's name of a variable to the task's.
    units: of variables whose file does not say.
    valid: [node] per variable, False where training had no values (land, for sea surface temperature): NaN may stand
        there, and nowhere else; a value that stands there is masked.
    regrid: how a source on other nodes is interpolated, recorded in `attributes`; where None, it is refused. The two
        components of a vector are carried along the great circle; means of masked variables leave NaN out.

    Members stay on the member axis; each trajectory of a simulated dataset becomes a case of its own, for every initial
    time. Nodes listed in another order are reordered, those of a window with a boundary picked out of more, and
    convertible units converted. Every fault of the source is reported at once in one MeshcastError.
    """
    fields = sources if isinstance(sources, Fields) else open_fields(sources, rename=rename, units=units)
    notices = list(fields.notices)
    if (area := on_area(fields, mesh)) is not fields:
        notices.append(f"{mesh.num_nodes} of the {fields.mesh.num_nodes} nodes of {fields.source} are taken: the area")
        fields = area
    if fields.ensemble_axis == "member" and fields.ensemble_size > 1:
        notices.append(
            f"the {fields.ensemble_size} fields at each time of {fields.source} are members of one ensemble; "
            "independent trajectories are named by --trajectories number"
        )
    source = _Source(fields, task, mesh, valid or {}, [], notices)
    columns = source.columns(rename or {})
    conversions = source.conversions(columns, units or {})
    order, remapping = source.placed(regrid)
    chosen, windows = source.windows(init_times)
    looked_at = windows if windows.size else _newest(fields)
    values = source.values(looked_at, columns, conversions, order)
    if values is not None and remapping is not None:
        values = source.remapped(values, remapping, columns)
    if values is not None and (order is not None or remapping is not None or valid is None):
        source.check_finite(values, columns)
    if source.faults:
        text = "\n".join(f"- {fault}" for fault in source.faults)
        raise MeshcastError(f"{fields.source} cannot start this forecast, for {len(source.faults)} reason(s):\n{text}")
    assert values is not None and len(chosen)
    source.mask(values, columns)
    values = values[looked_at]  # [case, history, ensemble, node, variable]
    valid_time, trajectory = chosen, np.full(len(chosen), -1, dtype=np.int64)
    if fields.ensemble_axis == "trajectory":
        size = values.shape[2]
        values = values.transpose(0, 2, 1, 3, 4).reshape(-1, 1, *values.shape[1:2], *values.shape[3:])
        trajectory = np.tile(np.asarray(fields.trajectories, np.int64), len(chosen))
        valid_time = np.repeat(chosen, size)
    else:
        values = values.transpose(0, 2, 1, 3, 4)
    state = State(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), valid_time, trajectory)
    attributes = dict(fields.attributes) | ({} if remapping is None else {"regridding": remapping.describe()})
    return InitialConditions(state, trajectory, attributes, tuple(notices))


@dataclass(frozen=True, eq=False)
class _Source:
    """A source beside what an emulator needs of it; what is wrong with it is collected, to be reported at once."""

    fields: Fields
    task: Task
    mesh: Mesh
    valid: Mapping[str, Mask]
    faults: list[str]
    notices: list[str]

    def columns(self, rename: Mapping[str, str]) -> dict[str, str]:
        """Return the source's name of each prognostic variable that it has."""
        variables = self.fields.variables
        canonical = {canonical_name(name): name for name in variables}
        renamed = {wanted: name for name, wanted in rename.items() if name in variables}
        found = {
            name: renamed.get(name) or (name if name in variables else canonical.get(canonical_name(name)))
            for name in self.task.prognostic
        }
        if absent := [f"{name}{nearest(name, variables)}" for name in found if found[name] is None]:
            self.faults.append(
                f"it lacks the variable {', '.join(absent)}. It has {', '.join(variables)}; --rename THEIRS=OURS maps "
                "another name."
            )
        return {name: theirs for name, theirs in found.items() if theirs is not None}

    def conversions(self, columns: Mapping[str, str], given: Mapping[str, str]) -> dict[str, Conversion]:
        expected = {variable.name: variable.units for variable in self.task.variables}
        conversions = {}
        for name, theirs in columns.items():
            units = given.get(theirs, given.get(name, self.fields.units[self.fields.variables.index(theirs)]))
            convert = conversion(units, expected[name])
            if convert is None and units in ("", "unknown"):
                self.faults.append(
                    f"{theirs} has no units, but {expected[name]} is expected; say what they are with --units "
                    f"{theirs}=..."
                )
            elif convert is None:
                self.faults.append(f"{theirs} has units {units}, which cannot be converted to {expected[name]}")
            elif convert.needed:
                self.notices.append(f"{theirs} was converted from {units} to {expected[name]}")
            conversions[name] = convert or Conversion(1.0, 0.0)
        return conversions

    def placed(self, regrid: Method | None) -> tuple[Index | None, Interpolation | None]:
        """Return the order that takes the source's nodes to the emulator's, or the interpolation that does."""
        theirs, ours = self.fields.mesh, self.mesh
        order = nodes_among(theirs, ours) if theirs.num_nodes == ours.num_nodes else None
        if order is not None:
            if np.any(np.diff(order) != 1):
                self.notices.append("nodes were reordered: the source lists the same places in another order")
            return order, None
        if regrid is None or "ring" in (ours.domain.kind, theirs.domain.kind):
            self.faults.append(
                f"it lies on a {theirs.describe()}, but the emulator on a {ours.describe()}: "
                f"{_difference(theirs, ours)}"
            )
            return None, None
        try:
            remapping = interpolation(regrid, theirs, ours)
        except MeshcastError as error:
            self.faults.append(f"it cannot be remapped: {error}")
            return None, None
        self.notices.append(f"values were remapped: {remapping.describe()}")
        return None, remapping

    def windows(self, init_times: str) -> tuple[Index, Index]:
        """Return the initial times [case] and the index of their history in the source [case, history]."""
        fields, task, init_times = self.fields, self.task, init_times.strip()
        try:
            asked = fields.times if init_times in ("all", "latest") else parse_init_times(init_times, fields)
        except MeshcastError as error:
            self.faults.append(str(error))
            asked = fields.times[:0]
        index, there = histories(fields, task, asked)
        complete = there.all(axis=1)
        if init_times in ("all", "latest"):
            if not complete.any():
                self.faults.append(
                    f"no time has the {task.history} fields a start needs, {task.time_step} apart; it covers "
                    f"{_coverage(fields)}"
                )
            elif init_times == "all" and not complete.all():
                left_out = int((~complete).sum())
                self.notices.append(f"{left_out} times are left out: the history before them is not complete")
            kept = np.flatnonzero(complete)[-1:] if init_times == "latest" else np.flatnonzero(complete)
            return asked[kept], index[kept]
        for row in np.flatnonzero(~complete)[:5]:
            history = task.time_step.advance(asked[row], np.arange(1 - task.history, 1))
            absent = _shown(history[~there[row]], fields)
            what = "" if not there[row, -1] else f" of its history ({task.history} fields, {task.time_step} apart)"
            near = fields.times[np.argsort(np.abs(fields.times - asked[row]))[:2]]
            self.faults.append(
                f"the initial time {_shown(asked[row : row + 1], fields)} is not there: it has no field{what} at "
                f"{absent}; it covers {_coverage(fields)}, nearest are {_shown(np.sort(near), fields)}"
            )
        if (more := int((~complete).sum()) - 5) > 0:
            self.faults.append(f"{more} more initial times are not there")
        return asked[complete], index[complete]

    def values(
        self, windows: Index, columns: Mapping[str, str], conversions: Mapping[str, Conversion], order: Index | None
    ) -> Values | None:
        """Return values [time, ensemble, node, variable] of the used times; `windows` is changed to point into them."""
        if windows.size == 0 or not columns:
            return None
        used, inverse = np.unique(windows, return_inverse=True)
        values = self.fields.read(used, list(columns.values()))
        windows[...] = inverse.reshape(windows.shape)
        for column, name in enumerate(columns):
            values[..., column] = conversions[name](values[..., column])
        return values if order is None else values[:, :, order]

    def remapped(self, values: Values, remapping: Interpolation, columns: Mapping[str, str]) -> Values:
        """Return values on the emulator's nodes; NaN is left out of means where training had none, else stays."""
        placed = []
        for column, name in enumerate(columns):
            masked = name in self.valid and not self.valid[name].all()
            placed.append((remapping.apply_known if masked else remapping.apply)(values[..., [column]]))
        result, names = np.concatenate(placed, axis=-1), list(columns)
        for name, partner in partners_of(self.task).items():
            if {name, partner} <= columns.keys():  # of two partners the task lists the eastward one first
                east, north = sorted((names.index(name), names.index(partner)))
                components = remapping.apply_vector(values[..., [east]], values[..., [north]])
                result[..., [east]], result[..., [north]] = components
        return result

    def mask(self, values: Values, columns: Mapping[str, str]) -> None:
        """Put NaN into `values` [time, ensemble, node, variable] where training had none: the network took the mean."""
        for column, (name, theirs) in enumerate(columns.items()):
            masked = ~self.valid.get(name, np.ones(values.shape[2], dtype=bool))
            if np.isfinite(values[:, :, masked, column]).any():
                values[:, :, masked, column] = np.nan
                self.notices.append(f"{theirs} has values on {int(masked.sum())} nodes where training had none; masked")

    def check_finite(self, values: Values, columns: Mapping[str, str]) -> None:
        for column, (name, theirs) in enumerate(columns.items()):
            wrong = ~np.isfinite(values[..., column])  # [time, ensemble, node]
            if name in self.valid:
                wrong &= self.valid[name]
            if wrong.any():
                node = int(np.argwhere(wrong)[0][2])
                on = self.mesh if wrong.shape[2] == self.mesh.num_nodes else self.fields.mesh
                self.faults.append(
                    f"{theirs} has {int(wrong.sum())} values that are NaN or infinite where the emulator needs them; "
                    f"the first is node {node}, at {on.latitudes[node]:.2f} N {on.longitudes[node]:.2f} E. Fill them, "
                    "or choose another initial time"
                )


def _difference(theirs: Mesh, ours: Mesh) -> str:
    """Return how far the emulator's nodes are from the source's, and what to do about it."""
    if theirs.positions.shape[1] != ours.positions.shape[1]:
        return "a ring and a sphere have no places in common. Take a source of the same equation."
    distance = cKDTree(theirs.positions).query(ours.positions)[0]
    if distance.max() < SAME_PLACE:
        return (
            f"all {ours.num_nodes} nodes of the emulator are among the source's {theirs.num_nodes}. Cut the area out "
            "first (cdo sellonlatbox, or `area` of an anemoi dataset), or pick them with --regrid bilinear."
        )
    far, absent = int(distance.argmax()), int(np.sum(distance >= SAME_PLACE))
    if ours.domain.kind == "ring":
        return f"{absent} of {ours.num_nodes} nodes are not there. Simulate with the same num_nodes."
    return (
        f"{absent} of {ours.num_nodes} nodes are not there; node {far}, at {ours.latitudes[far]:.2f} N "
        f"{ours.longitudes[far]:.2f} E, is {distance[far] * EARTH_RADIUS / 1000:.0f} km from the nearest of the "
        "source. Remap it to the emulator's grid with --regrid bilinear, or --regrid conservative from a finer one, "
        "which keeps integrals."
    )


def _newest(fields: Fields) -> Index:
    """Return the index of the newest times [1, time]: what the values are judged by where no asked time is there."""
    readable = [index for index in range(len(fields.times)) if index not in fields.missing]
    return np.array([readable[-24:]], dtype=np.int64)


def _shown(times: Index, fields: Fields) -> str:
    return ", ".join(fields.time_step.moment(time) for time in times)


def _coverage(fields: Fields) -> str:
    every = "" if len(fields.times) == 1 else f" every {fields.time_step}"
    return f"{_shown(fields.times[:1], fields)} to {_shown(fields.times[-1:], fields)}{every}"
