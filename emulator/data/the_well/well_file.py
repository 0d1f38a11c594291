"""One file of The Well, opened and read piece by piece: HDF5 with fields on colatitude (theta) and longitude (phi).

Fields are [trajectory, time, theta, phi], vectors with a last axis of components in the order of the file's
`spatial_dims`. theta points south, so that a northward wind is minus its component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import canonical_name
from emulator.data.netcdf_file import travelling_attributes
from emulator.data.series import NUMBER, Grid, settled_grid
from emulator.data.the_well.well_coordinates import (
    NOMINAL_START,
    geostrophic_components,
    latitudes_of,
    longitudes_of,
    planetswe_rows,
    settled_times,
)
from emulator.foundation.netcdf_limits import refuse_hostile
from emulator.foundation.time_step import Times, to_datetime
from emulator.foundation.winds import EASTWARD, NORTHWARD
from graphs.errors import MeshcastError, refuse_damaged
from graphs.geometry import Index

if TYPE_CHECKING:
    import h5py

Texts = Mapping[str, str]  # by a variable's name
GROUPS = ("boundary_conditions", "dimensions", "scalars", "t0_fields", "t1_fields", "t2_fields")
THETA, PHI = "theta", "phi"
SCALARS = {"height": ("h", "m")}  # what planetswe's fields are called here, and their units, which no file says
VECTORS = {"velocity": (("u", "v"), "m s-1")}
WRITTEN_BY = "written_by"  # a root attribute of the files that Meshcast writes


@dataclass(frozen=True)
class WellVariable:
    """One variable of a file: a scalar field, or a component of a vector field.

    name: as the project calls it; `raw_name` as the file does, `velocity_phi` for a component.
    field: the path of its values in the file.
    component: on their last axis, None of a scalar; `sign` makes it eastward or northward.
    of_trajectory, in_time: over what it varies beside the grid.
    """

    name: str
    raw_name: str
    units: str
    field: str
    component: int | None = None
    sign: float = 1.0
    of_trajectory: bool = True
    in_time: bool = True


@dataclass(frozen=True, eq=False)
class WellFile:
    """A file of The Well, whose values are read when they are asked for.

    times: [time] int64 seconds since 1970 UTC, nominal where the file counts hours from the start of a simulation.
    order: [cell] that takes the file's cells, by theta and phi, to those of `grid`; None where nothing moves.
    transposed: whether its fields are [..., phi, theta].
    attributes: title, licence and attribution.
    """

    path: str
    times: Times
    num_trajectories: int
    grid: Grid
    order: Index | None
    transposed: bool
    variables: tuple[WellVariable, ...]
    attributes: dict[str, str]
    notices: tuple[str, ...]

    def read(self, variables: Sequence[WellVariable], times: slice, trajectory: int) -> NDArray[np.float32]:
        """Return values [time, cell, variable] of one trajectory; what never changes stands at every time."""
        import h5py

        count = len(range(*times.indices(len(self.times))))
        values = np.empty((count, len(self.grid.latitudes), len(variables)), dtype=np.float32)
        with refuse_damaged(self.path), h5py.File(self.path, "r") as file:
            for field in dict.fromkeys(variable.field for variable in variables):
                columns = [column for column, variable in enumerate(variables) if variable.field == field]
                first = variables[columns[0]]
                leading = ((trajectory,) if first.of_trajectory else ()) + ((times,) if first.in_time else ())
                whole = np.asarray(
                    file[field][(*leading, ...)]
                )  # both components at once: HDF5 is slow at every second
                whole = whole if first.in_time else whole[None]
                whole = whole.swapaxes(1, 2) if self.transposed else whole
                for column in columns:
                    component = variables[column].component
                    one = whole if component is None else variables[column].sign * whole[..., component]
                    flat = one.reshape(len(one), -1)
                    values[..., column] = flat if self.order is None else flat[:, self.order]
        return values


def is_well(path: Path) -> bool:
    """Return whether an HDF5 file holds groups of The Well's; a damaged one is left to the reader of NetCDF.

    Raises MeshcastError for one that a reader of NetCDF refuses to open; see `refuse_hostile`.
    """
    import h5py

    try:
        refuse_hostile(path, whole=False)
        with h5py.File(path, "r") as file:
            found = [name for name in GROUPS if file.get(name, getclass=True) is h5py.Group]
    except (MeshcastError, MemoryError):
        raise
    except Exception:  # whatever its libraries make of a damaged one
        return False
    return len(found) > 1


def open_well(path: str | Path, rename: Texts | None = None, units: Texts | None = None) -> WellFile:
    """Return a file of The Well on a sphere, all but its values read.

    rename, units: by a file's name of a variable (`velocity_phi`), or ours; units also by that of a vector.
    Raises MeshcastError where it is damaged, lacks a group, or lies on no grid of theta and phi.
    """
    import h5py

    rename = dict(rename or {})
    for theirs in [theirs for theirs, ours in rename.items() if ours == NUMBER]:
        if theirs not in (NUMBER, "trajectory", "trajectories"):
            raise MeshcastError(
                f"{path} has no dimension {theirs!r}: its trajectories are told apart without --trajectories."
            )
        del rename[theirs]
    with refuse_damaged(path):
        refuse_hostile(Path(path), whole=False)
        with h5py.File(path, "r") as file:
            opened = _opened(file, str(path))
    return _named(_with_components_settled(opened), rename, units or {})


def _opened(file: h5py.File, path: str) -> WellFile:
    if absent := [name for name in ("dimensions", "t0_fields", "t1_fields") if name not in file]:
        raise MeshcastError(
            f"{path} lacks the group{'s' * (len(absent) > 1)} {', '.join(absent)}. A file of The Well has dimensions, "
            "t0_fields (scalars) and t1_fields (vectors), which may be empty; it may be cut short: fetch it again."
        )
    dimensions = file["dimensions"]
    axes = _names(dimensions.attrs.get("spatial_dims"), dimensions)
    if sorted(axes) != [PHI, THETA]:
        raise MeshcastError(
            f"{path} lies on a grid of {', '.join(axes) or 'nothing'}. Of The Well's data those on the sphere are "
            "read, by theta (colatitude) and phi (longitude), such as planetswe."
        )
    theta, phi = (_axis(dimensions, name, path).astype(np.float64) for name in (THETA, PHI))
    notices = []
    latitudes, longitudes = latitudes_of(theta, path), longitudes_of(phi, path)
    if _text(file.attrs.get("dataset_name")) == "planetswe" and WRITTEN_BY not in file.attrs:
        rows = planetswe_rows(latitudes)
        if rows is not None:
            latitudes = rows
            notices.append(
                f"{path} states Gaussian latitudes, but planetswe was interpolated to rows {rows[1] - rows[0]:+.3f} "
                "degrees apart, which are taken"
            )
    grid, order = settled_grid(np.repeat(latitudes, len(phi)), np.tile(longitudes, len(theta)))
    time = _axis(dimensions, "time", path)
    units = _text(dimensions["time"].attrs.get("units"))
    times, remark = settled_times(time, units, path)
    notices += [remark] if remark else []
    if " since " not in units:
        notices.append(
            f"times of {path} count from the start of a simulation{'' if units else ', in hours'}; they became dates, "
            f"{to_datetime(np.array([NOMINAL_START]))[0]} its time 0"
        )
    trajectories = int(file.attrs["n_trajectories"])
    sizes = (trajectories, len(time), *(len(theta) if name == THETA else len(phi) for name in axes))
    variables, left_out = _variables(file, axes, sizes, path)
    if not variables:
        raise MeshcastError(f"{path} holds no scalar or vector field on theta and phi.")
    if left_out:
        notices.append(f"{', '.join(left_out)} of {path} left out: no scalar or vector on all of theta and phi")
    return WellFile(
        path, times, trajectories, grid, order, axes[0] == PHI, variables, _attributes(file), tuple(notices)
    )


def _axis(dimensions: h5py.Group, name: str, path: str) -> NDArray[np.floating]:
    """Return a coordinate, the same of every trajectory."""
    if name not in dimensions:
        raise MeshcastError(f"{path} lacks dimensions/{name}. Fetch it again, or make it anew.")
    values = np.asarray(dimensions[name][()])
    if values.ndim == 2 and len(values) and np.all(values == values[0]):
        values = values[0]
    if values.ndim != 1 or not values.size or values.dtype.kind not in "fiu":
        raise MeshcastError(
            f"{path}: dimensions/{name} must be one axis of numbers, the same for all trajectories and times, but has "
            f"shape {list(values.shape)} of {values.dtype}."
        )
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _variables(
    file: h5py.File, axes: Sequence[str], sizes: tuple[int, ...], path: str
) -> tuple[tuple[WellVariable, ...], list[str]]:
    """Return the variables of a file, and the fields that are none.

    sizes: of trajectory, time, and the two axes.
    """
    variables: list[WellVariable] = []
    left_out = [name for name in _names(file["t2_fields"].attrs.get("field_names"), ())] if "t2_fields" in file else []
    left_out += list(file["scalars"]) if "scalars" in file else []
    for group, components in (("t0_fields", 0), ("t1_fields", 2)):
        for name in _names(file[group].attrs.get("field_names"), file[group]):
            if name not in file[group]:
                raise MeshcastError(f"{path} names a field {name}, but lacks {group}/{name}. Fetch it again.")
            values = file[group][name]
            attributes = values.attrs
            if not np.all(attributes.get("dim_varying", [True, True])):
                left_out.append(name)
                continue
            varies = [bool(attributes.get(f"{what}_varying", True)) for what in ("sample", "time")]
            shape = tuple(size for size, so in zip(sizes, [*varies, True, True], strict=True) if so)
            shape += (components,) * bool(components)
            if values.shape != shape or values.dtype.kind != "f":
                raise MeshcastError(
                    f"{path}: {group}/{name} must be floating-point numbers of shape {list(shape)}, as its attributes "
                    f"and n_trajectories say, but is {values.dtype} of shape {list(values.shape)}."
                )
            variables += _of_field(name, f"{group}/{name}", attributes, axes if components else (), varies)
    return tuple(variables), left_out


def _of_field(
    name: str, field: str, attributes: Mapping[str, Any], axes: Sequence[str], varies: Sequence[bool]
) -> list[WellVariable]:
    """Return the variables of a field: itself, or the eastward and the northward component of a vector."""
    stated = _text(attributes.get("units"))
    if not axes:
        ours, units = SCALARS.get(name, (canonical_name(name), ""))
        return [WellVariable(ours, name, stated or units, field, None, 1.0, *varies)]
    names, units = VECTORS.get(name, ((name + EASTWARD, name + NORTHWARD), ""))
    east, north = (_text(attributes.get(key)) or one for key, one in zip(("eastward", "northward"), names, strict=True))
    units = stated or units
    return [
        WellVariable(east, f"{name}_{PHI}", units, field, axes.index(PHI), 1.0, *varies),
        WellVariable(north, f"{name}_{THETA}", units, field, axes.index(THETA), -1.0, *varies),
    ]


def _with_components_settled(file: WellFile) -> WellFile:
    """Return a file with its wind's components read in the order and the sign by which it is geostrophic.

    The format states the order by `spatial_dims`, but The Well's own script for planetswe writes the solver's.
    """
    by_name = {variable.raw_name: variable for variable in file.variables}
    wanted = [by_name.get(name) for name in ("height", f"velocity_{THETA}", f"velocity_{PHI}")]
    if len(file.grid.shape) != 2 or any(one is None or not one.in_time for one in wanted):
        return file
    height, theta, phi = (one for one in wanted if one is not None)
    fields = file.read([height, replace(theta, sign=1.0), phi], slice(0, 1), 0)[0].astype(np.float64)
    rows, columns = file.grid.shape
    fields = fields.T.reshape(3, rows, columns)
    latitudes, longitudes = file.grid.latitudes[::columns], file.grid.longitudes[:columns]
    found = geostrophic_components(fields[0], fields[1], fields[2], latitudes, longitudes)
    if found is None:
        return file
    swapped, sign = found
    first, second = (phi, theta) if swapped else (theta, phi)
    settled = {
        theta.raw_name: replace(theta, component=first.component, sign=sign),
        phi.raw_name: replace(phi, component=second.component),
    }
    how = ["(phi, theta)"] * swapped + ["with theta to the north"] * (sign > 0)
    notice = (
        f"the components of velocity in {file.path} are read as {' '.join(how) or '(theta, phi)'}: so, and not as the "
        "file states them, the wind blows along the isolines of height"
    )
    variables = tuple(settled.get(variable.raw_name, variable) for variable in file.variables)
    return replace(file, variables=variables, notices=(*file.notices, notice))


def _named(file: WellFile, rename: Texts, units: Texts) -> WellFile:
    """Return a file whose variables have the names and units that the user gives."""
    named = []
    for one in file.variables:
        field = one.field.partition("/")[2]
        if one.component is not None and field in rename:
            raise MeshcastError(
                f"--rename {field}={rename[field]}: {field} of {file.path} is a vector, of {field}_{PHI} (eastward) "
                f"and {field}_{THETA}. Rename these."
            )
        name = next((rename[key] for key in (one.raw_name, one.name) if key in rename), one.name)
        given = next((units[key] for key in (name, one.name, one.raw_name, field) if key in units), one.units)
        named.append(replace(one, name=name, units=given))
    names = [one.name for one in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MeshcastError(
            f"{file.path} holds {twice[0]} twice. Give one a name of its own with --rename THEIRS=OURS."
        )
    return replace(file, variables=tuple(named))


def _attributes(file: h5py.File) -> dict[str, str]:
    texts = {name: _text(value) for name, value in file.attrs.items()}
    found = {"title": texts.get("dataset_name", "")} | travelling_attributes(texts)
    parameters = [f"{name}={file.attrs[name]}" for name in _names(file.attrs.get("simulation_parameters"), ())]
    return {name: text for name, text in {**found, "simulation_parameters": ", ".join(parameters)}.items() if text}


def _names(listed: Any, otherwise: Any) -> list[str]:
    """Return the names that an attribute lists, or where there is none those of a group."""
    return [_text(name) for name in (otherwise if listed is None else np.atleast_1d(listed))]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
