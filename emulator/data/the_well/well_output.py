"""Fields on a global grid of latitudes and longitudes written as a file of The Well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import WINDS, split_level
from emulator.data.netcdf_file import TRAVELLING
from emulator.data.the_well.well_coordinates import HOUR, NOMINAL_START
from emulator.data.the_well.well_file import PHI, SCALARS, THETA, VECTORS, WRITTEN_BY
from emulator.fields import Fields
from emulator.foundation.time_step import to_datetime
from emulator.foundation.winds import EASTWARD, NORTHWARD
from graphs.atomic_file import atomic_file, refuse_existing, system_errors
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.latlon import grid_axes
from graphs.output_lock import output_lock

if TYPE_CHECKING:
    import h5py

ENDINGS = (".hdf5", ".h5")
BYTES_AT_ONCE = 2**26


class WatchedFile(FileIO):
    """A file for HDF5 to write to, which loses no failure.

    HDF5 keeps to itself what fails while it tidies up, so that a file with a hole passes for whole, and h5py prints the
    rest on standard error. Here a write that fails is taken down, HDF5 is told that all went well, and the first
    failure is raised at the end of the block.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return 0

    def raise_failure(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self.raise_failure()


@dataclass(frozen=True)
class WellField:
    """A field of a file: a scalar, or a vector of an eastward and a northward variable.

    name: in the file.
    variables: the scalar's, or the eastward one and the northward one.
    """

    name: str
    variables: tuple[str, ...]
    units: str


def write_well(
    fields: Fields,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    attributes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write fields as a file of The Well, block by block of times, and return the names of its fields.

    Scalars become `t0_fields`; winds, by their names, vectors in `t1_fields`, with components (theta, phi), theta to
    the south. Every row of the ensemble axis is a trajectory. Beside what the format asks for stand the units, the
    names of the components, licence and attribution, and the date of time 0.

    attributes: title (its `dataset_name`), licence and whatever else the fields do not say.
    Raises MeshcastError where the mesh is no global grid, where times are missing or are no fixed step apart, and where
    the output exists or cannot be written.
    """
    path, chosen = Path(path), list(fields.variables if variables is None else variables)
    if absent := [name for name in chosen if name not in fields.variables]:
        raise MeshcastError(
            f"{fields.source} has no variable {', '.join(absent)}; it has {', '.join(fields.variables)}."
        )
    refuse_existing(path, overwrite)
    theta, phi = _axes(fields.mesh, fields.source)
    hours = _hours(fields)
    layout = fields_of_file(chosen, dict(zip(fields.variables, fields.units, strict=True)))
    size = 4 * len(fields.times) * fields.ensemble_size * fields.mesh.num_nodes * len(chosen)
    with output_lock(path), atomic_file(path) as temporary, system_errors(temporary, size):
        import h5py

        with WatchedFile(temporary) as watched, h5py.File(watched, "w") as file:
            _head(file, fields, path, {**fields.attributes, **(attributes or {})})
            _dimensions(file, hours, theta, phi)
            _boundaries(file, len(theta), len(phi))
            for group, vectors in (("t0_fields", False), ("t1_fields", True)):
                _empty_fields(file, group, [one for one in layout if (len(one.variables) == 2) == vectors])
            _values(file, fields, layout, watched)
    return tuple(one.name for one in layout)


def fields_of_file(names: Sequence[str], units: Mapping[str, str]) -> list[WellField]:
    """Return how variables become fields: pairs of wind components vectors, all others scalars."""
    fields, taken = [], set()
    for east in names:
        north = _northward(east)
        if north and north in names and units[east] == units[north]:
            taken |= {east, north}
            known = next((name for name, (pair, _) in VECTORS.items() if pair == (east, north)), None)
            plain = east.removesuffix(EASTWARD) if east.endswith(EASTWARD) else f"{east}_{north}"
            fields.append(WellField(known or plain, (east, north), units[east]))
    for name in names:
        if name not in taken:
            known = next((theirs for theirs, (ours, _) in SCALARS.items() if ours == name), None)
            fields.append(WellField(known or name, (name,), units[name]))
    for field in fields:
        if "/" in field.name or field.name in (".", "") or not field.name.isprintable():
            raise MeshcastError(f"HDF5 cannot name a field {field.name!r}. Give it another name with --rename.")
    return sorted(fields, key=lambda field: min(names.index(name) for name in field.variables))


def _northward(east: str) -> str | None:
    """Return the name of the northward partner of an eastward wind; None of another variable."""
    if east.endswith(EASTWARD):
        return east.removesuffix(EASTWARD) + NORTHWARD
    stem, level = split_level(east)
    return None if stem not in WINDS else WINDS[stem] if level is None else f"{WINDS[stem]}_{level}"


def _axes(mesh: Mesh, source: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return theta and phi [radians] of a global grid's rows and columns."""
    axes = grid_axes(mesh.latitudes, mesh.longitudes) if mesh.structured and mesh.domain.kind == "sphere" else None
    if axes is None:
        raise MeshcastError(
            f"{source} lies on a {mesh.describe()}, but The Well's files hold global grids of latitudes and longitudes."
            " Simulate onto one ('mesh={kind: gaussian, ...}'), or interpolate the fields to one first."
        )
    return np.radians(90.0 - axes[0]).astype(np.float32), np.radians(axes[1] % 360.0).astype(np.float32)


def _hours(fields: Fields) -> NDArray[np.floating]:
    """Return the times [hours] since the nominal start, float32 where that tells them apart."""
    if fields.time_step.unit == "month" or fields.time_step.true_length is not None:
        raise MeshcastError(
            f"{fields.source} has steps of {fields.time_step}, but The Well's files count hours at a constant interval."
        )
    gaps = np.flatnonzero(np.diff(fields.times) != fields.time_step.count)
    lost = [fields.times[min(fields.missing)]] if fields.missing else fields.times[gaps[:1]]
    if len(lost):
        raise MeshcastError(
            f"{fields.source} has missing dates, at or after {to_datetime(np.asarray(lost))[0]}, but The Well's files "
            "are sampled at a constant interval. Choose a part without (`start` and `end` of a dataset)."
        )
    hours = (fields.times - NOMINAL_START) / HOUR
    single = hours.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), hours) else hours


def _head(file: h5py.File, fields: Fields, path: Path, attributes: Mapping[str, str]) -> None:
    texts = {ours: attributes[ours] for ours in sorted(set(TRAVELLING.values())) if attributes.get(ours)}
    file.attrs.update(
        {
            **texts,
            "dataset_name": attributes.get("title") or path.stem,
            "n_spatial_dims": 2,
            "n_trajectories": fields.ensemble_size,
            "grid_type": "equiangular",
            "simulation_parameters": [],
            WRITTEN_BY: "Meshcast",
        }
    )
    for name in ("scalars", "t2_fields"):
        file.create_group(name).attrs["field_names"] = []


def _dimensions(
    file: h5py.File, hours: NDArray[np.floating], theta: NDArray[np.floating], phi: NDArray[np.floating]
) -> None:
    group = file.create_group("dimensions")
    group.attrs["spatial_dims"] = [THETA, PHI]
    since = str(to_datetime(np.array([NOMINAL_START]))[0]).replace("T", " ")
    for name, values, units in (("time", hours, f"hours since {since}"), (THETA, theta, "rad"), (PHI, phi, "rad")):
        axis = group.create_dataset(name, data=values)
        axis.attrs.update({"sample_varying": False, "time_varying": name == "time", "units": units})


def _boundaries(file: h5py.File, rows: int, columns: int) -> None:
    group = file.create_group("boundary_conditions")
    for dimension, kind, size in ((PHI, "PERIODIC", columns), (THETA, "OPEN", rows)):
        condition = group.create_group(f"{dimension}_{kind.lower()}")
        condition.attrs.update(
            {
                "associated_dims": [dimension],
                "associated_fields": [],
                "bc_type": kind,
                "sample_varying": False,
                "time_varying": False,
            }
        )
        mask = np.zeros(size, dtype=bool)
        mask[[0, -1]] = True
        condition.create_dataset("mask", data=mask)


def _empty_fields(file: h5py.File, group: str, layout: Sequence[WellField]) -> None:
    """Make the fields of a group, [trajectory, time, theta, phi], with two components of a vector, without values."""
    dimensions = file["dimensions"]
    sizes = (int(file.attrs["n_trajectories"]), *(len(dimensions[name]) for name in ("time", THETA, PHI)))
    below = file.create_group(group)
    below.attrs["field_names"] = [field.name for field in layout]
    for field in layout:
        values = below.create_dataset(field.name, sizes + (2,) * (len(field.variables) == 2), dtype=np.float32)
        values.attrs.update({"dim_varying": [True, True], "sample_varying": True, "time_varying": True})
        if field.units not in ("", "unknown"):
            values.attrs["units"] = field.units
        if len(field.variables) == 2:
            values.attrs.update(dict(zip(("eastward", "northward"), field.variables, strict=True)))


def _values(file: h5py.File, fields: Fields, layout: Sequence[WellField], watched: WatchedFile) -> None:
    names = [name for field in layout for name in field.variables]
    at_once = max(1, BYTES_AT_ONCE // (4 * fields.ensemble_size * fields.mesh.num_nodes * len(names)))
    for start in range(0, len(fields.times), at_once):
        times = slice(start, min(start + at_once, len(fields.times)))
        block = fields.read(times, names).swapaxes(0, 1)  # [trajectory, time, node, variable]
        block = block.reshape(*block.shape[:2], *fields.mesh.shape, len(names))
        for field in layout:
            one = [block[..., names.index(name)] for name in field.variables]
            group = "t0_fields" if len(one) == 1 else "t1_fields"
            file[group][field.name][:, times] = one[0] if len(one) == 1 else np.stack([-one[1], one[0]], axis=-1)
        watched.raise_failure()
