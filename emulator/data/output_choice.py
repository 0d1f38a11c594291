"""What of a forecast is written: every how many steps, which variables, of which area, and which as sums."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emulator.data.forecast_netcdf import ForecastHeading
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError, refuse_damaged
from graphs.geometry import EDGE, Index, between_meridians, east_of
from graphs.mesh import Mesh
from graphs.meshes.limited_area import refuse_bad_place
from graphs.meshes.points import mesh_at

FEWEST_NODES = 3


@dataclass(frozen=True)
class OutputChoice:
    """What of a forecast is written; all of it by default.

    every: steps from one output to the next.
    variables: in this order; all by default.
    area: north, west, south, east [degrees], from west eastward to east, across the date line too.
    accumulate: variables summed over the steps since the output before.
    """

    every: int = 1
    variables: tuple[str, ...] = ()
    area: tuple[float, float, float, float] | None = None
    accumulate: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the choice as a text attribute."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, heading: ForecastHeading) -> OutputChoice:
        """Return the choice that a forecast's heading carries; all of it where it carries none.

        Raises MeshcastError where it carries something else.
        """
        with refuse_damaged(f"The attribute output_choice of the forecast {heading.name}"):
            found: OutputChoice = typed_json(cls, heading.attributes.get("output_choice", "{}"))
        return found

    def carried_by(self, heading: ForecastHeading) -> ForecastHeading:
        """Return the heading with this choice among its attributes, where it leaves something out.

        Raises MeshcastError where a variable is none of the forecast's, or the area holds none of its nodes.
        """
        if self == OutputChoice():
            return heading
        chosen = replace(heading, attributes={**heading.attributes, "output_choice": self.to_json()})
        _Selection(self, chosen)
        return chosen


def chosen_output(
    heading: ForecastHeading, leads: Iterable[NDArray[np.float32]]
) -> tuple[ForecastHeading, Iterator[NDArray[np.float32]]]:
    """Return the heading of what is written, and its leads [case, member, node, variable], of all that are computed."""
    selection = _Selection(OutputChoice.of(heading), heading)
    return selection.heading, selection.leads(leads)


def chosen_start(heading: ForecastHeading, start: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the written part of initial states [case, member, node, variable]; NaN of what is a sum."""
    return _Selection(OutputChoice.of(heading), heading).start(start)


class _Selection:
    """A choice, checked against what there is to choose from."""

    def __init__(self, choice: OutputChoice, heading: ForecastHeading) -> None:
        self.choice, self.whole = choice, heading
        for what, names in (("written", choice.variables), ("accumulated", choice.accumulate)):
            known = heading.variables if what == "written" else self.names
            if strangers := [name for name in names if name not in known]:
                raise MeshcastError(
                    f"There is no variable {', '.join(strangers)} to be {what}; there are {', '.join(known)}"
                    f"{nearest(strangers[0], known) or '.'}"
                )
        if len(set(choice.variables)) < len(choice.variables):
            raise MeshcastError(f"A variable to be written is named twice: {', '.join(choice.variables)}.")
        units = dict(zip(heading.variables, heading.units, strict=True))
        if rates := [name for name in choice.accumulate if _is_rate(units[name])]:
            raise MeshcastError(
                f"{rates[0]} is a rate [{units[rates[0]]}], whose sum over steps means nothing: only amounts a step, "
                "as precipitation in m or kg m-2, are accumulated. Write it at every step, and take its mean."
            )
        _ = self.nodes

    @property
    def names(self) -> tuple[str, ...]:
        return self.choice.variables or self.whole.variables

    @cached_property
    def columns(self) -> Index:
        return np.array([self.whole.variables.index(name) for name in self.names])

    @cached_property
    def sums(self) -> Index:
        """The written columns that are sums."""
        return np.array([self.names.index(name) for name in self.choice.accumulate], dtype=np.int64)

    @cached_property
    def nodes(self) -> tuple[Mesh, Index | slice]:
        return (
            (self.whole.mesh, slice(None)) if self.choice.area is None else area_of(self.whole.mesh, self.choice.area)
        )

    @property
    def heading(self) -> ForecastHeading:
        attributes = dict(self.whole.attributes)
        if self.choice.accumulate:
            attributes["accumulated"] = json.dumps(self.choice.accumulate)
        units = tuple(self.whole.units[column] for column in self.columns)
        return replace(
            self.whole,
            mesh=self.nodes[0],
            variables=self.names,
            units=units,
            attributes=attributes,
            every=self.choice.every,
        )

    def leads(self, leads: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        total: NDArray[np.float64] | float = 0.0
        for step, values in enumerate(leads, start=1):
            written = values[:, :, self.nodes[1]][..., self.columns]
            if len(self.sums):
                total = total + written[..., self.sums].astype(np.float64)
            if step % self.choice.every:
                continue
            if len(self.sums):
                written[..., self.sums], total = total, 0.0
            yield written

    def start(self, start: NDArray[np.float32]) -> NDArray[np.float32]:
        written = start[:, :, self.nodes[1]][..., self.columns]
        written[..., self.sums] = np.nan
        return written


def area_of(mesh: Mesh, area: tuple[float, float, float, float]) -> tuple[Mesh, Index]:
    """Return the nodes of a mesh in a box of north, west, south and east [degrees], as a mesh, and which they are.

    A part of a grid is a grid, its columns from west to east. Raises MeshcastError where fewer than three lie inside.
    """
    north, west, south, east = area
    if mesh.domain.kind == "ring":
        raise MeshcastError(f"An area is a part of the sphere, but this is a {mesh.describe()}. Leave --area away.")
    refuse_bad_place("An area", [(north, west), (south, east)])
    if not south < north:
        raise MeshcastError(
            f"An area's north, {north:g}, must lie north of its south, {south:g}: NORTH/WEST/SOUTH/EAST."
        )
    width = 360.0 if east - west >= 360.0 else (east - west) % 360.0
    beside = np.maximum(mesh.latitudes - north, south - mesh.latitudes)
    nodes = np.flatnonzero((beside <= EDGE) & between_meridians(mesh.longitudes, west, width))
    if len(nodes) < FEWEST_NODES:
        raise MeshcastError(
            f"The area {south:g} to {north:g} N, {west:g} to {east:g} E holds {len(nodes)} nodes of this "
            f"{mesh.describe()}, too few for a field. Make it larger, or write series at places with --place LAT,LON."
        )
    if mesh.structured:  # whole rows, each from west to east
        row = nodes // mesh.shape[1]
        nodes = nodes[np.lexsort((np.round(east_of(mesh.longitudes[nodes], west), 6), row))]
    if len(nodes) == mesh.num_nodes:
        return mesh, np.arange(mesh.num_nodes)
    latitudes, longitudes = mesh.latitudes[nodes], mesh.longitudes[nodes]
    part = mesh_at(latitudes, longitudes, "limited_area", mesh.domain.size)
    areas = mesh.areas[nodes]
    boundary = None if mesh.boundary is None else mesh.boundary[nodes]
    return replace(part, areas=areas / areas.sum(), boundary=boundary), nodes


def _is_rate(units: str) -> bool:
    """Return whether units are an amount in a time."""
    return any(
        sign in units.replace("^", "").replace("**", "") for sign in ("s-1", "/s", "W m", "W/m", "h-1", "d-1", "day-1")
    )
