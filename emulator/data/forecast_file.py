"""Forecasts as CF NetCDF: written lead by lead beside the final name, taken up again where a run was broken off."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import mesh_from_coordinates, mesh_to_json, time_step_from_json, time_step_to_json
from emulator.data.files import file_format
from emulator.data.forecast import Forecast
from emulator.data.names import split_level, standard_name_of
from emulator.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

CF_ATTRIBUTES = ("title", "institution", "source", "history", "references", "comment", "licence", "attribution")
PREFIX = "meshcast_"
EPOCH = "seconds since 1970-01-01 00:00:00"


class ForecastWriter:
    """A forecast file that grows by one lead time a call, and takes its final name when complete.

    Dimensions (case, member, lead_time, latitude, longitude), or cell in place of the last two; init_time + lead_time =
    valid_time. Values are float32, NaN where a guard stopped a member. While it grows the file is `PATH.part`; every
    lead is flushed, so that `resume` finds all that were appended.

    name: the emulator's.
    init_time, trajectory: [case].
    attributes: licence, attribution, title and the like go into CF's own attributes, everything else into `meshcast_*`.

    Raises MeshcastError where the output exists or cannot be written, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        mesh: Mesh,
        time_step: TimeStep,
        variables: tuple[str, ...],
        units: tuple[str, ...],
        init_time: NDArray[np.int64],
        trajectory: NDArray[np.int64],
        num_members: int,
        attributes: Mapping[str, str],
        overwrite: bool = False,
    ) -> None:
        import netCDF4

        self.path, self.part = Path(path), part_of(path)
        refuse_existing(self.path, overwrite)
        self.name, self.mesh, self.time_step = name, mesh, time_step
        self.variables, self.units, self.num_members = tuple(variables), tuple(units), num_members
        self.init_time, self.trajectory = np.asarray(init_time), np.asarray(trajectory)
        self.attributes, self.leads_done = dict(attributes), 0
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = netCDF4.Dataset(self.part, "w", format="NETCDF4")
            self._write_header()
            self._file.sync()

    @classmethod
    def resume(cls, path: str | Path) -> ForecastWriter:
        """The writer of a forecast that was broken off; `leads_done` says how far it came.

        Raises MeshcastError where there is no partial file, or it cannot be read.
        """
        import netCDF4

        writer = cls.__new__(cls)
        writer.path, writer.part = Path(path), part_of(path)
        if not writer.part.exists():
            raise MeshcastError(f"There is no partial forecast {writer.part} to resume. Start it anew.")
        try:
            writer._file = netCDF4.Dataset(writer.part, "r+")
            writer._file.set_auto_mask(False)
            content = _header(writer._file)
            writer.leads_done = int(np.sum(writer._file["lead_step"][:] > 0))
        except (OSError, RuntimeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise MeshcastError(
                f"The partial forecast {writer.part} cannot be read ({error}). Delete it and start anew."
            ) from None
        writer.__dict__.update(content)
        writer.num_members = len(writer._file.dimensions["member"])
        return writer

    @classmethod
    def start_or_resume(cls, path: str | Path, *args: Any, **kwargs: Any) -> ForecastWriter:
        """`resume` where a partial file of the same forecast is there, else a new one; arguments of the constructor.

        Raises MeshcastError where the partial file is of another forecast.
        """
        if not part_of(path).exists():
            return cls(path, *args, **kwargs)
        writer = cls.resume(path)
        names = ("name", "mesh", "time_step", "variables", "units", "init_time", "trajectory", "num_members")
        asked = {**dict(zip((*names, "attributes", "overwrite"), args, strict=False)), **kwargs}
        refuse_existing(writer.path, asked.get("overwrite", False))
        different = [name for name in names if not _equal(getattr(writer, name), asked[name])]
        different += [
            name
            for name, value in asked["attributes"].items()
            if name != "history" and writer.attributes.get(name) != str(value)
        ]
        if different:
            writer.close()
            raise MeshcastError(
                f"The partial forecast {writer.part} is of another forecast: its {', '.join(different)} differ. Finish "
                "that one with the same options, delete the file, or choose another output."
            )
        return writer

    def append(self, values: NDArray[np.floating]) -> None:
        """Add the next lead time: values [case, member, node, variable]."""
        lead, shape = self.leads_done, self.mesh.shape
        expected = (len(self.init_time), self.num_members, self.mesh.num_nodes, len(self.variables))
        assert values.shape == expected, f"a lead is [case, member, node, variable] = {expected}, not {values.shape}"
        with self._explained():
            for column, name in enumerate(self.variables):
                field = np.asarray(values[..., column], dtype=np.float32)
                self._file[name][:, :, lead] = field.reshape(*field.shape[:2], *_file_shape(self.mesh, shape))
            self._file["valid_time"][:, lead] = self.time_step.advance(self.init_time, lead + 1)
            self._file["lead_time"][lead] = _lead_axis(self.time_step, np.array([lead + 1]))[0][0]
            self._file.sync()
            self._file["lead_step"][lead] = lead + 1  # last: it marks the lead as whole
            self._file.sync()
        self.leads_done += 1

    def last(self, count: int) -> NDArray[np.float32]:
        """The newest `count` leads [case, member, lead, node, variable], bit for bit as appended."""
        assert 0 < count <= self.leads_done
        leads = slice(self.leads_done - count, self.leads_done)
        fields = [np.asarray(self._file[name][:, :, leads]) for name in self.variables]
        return np.stack([field.reshape(*field.shape[:3], -1) for field in fields], axis=-1)

    def finish(self, attributes: Mapping[str, str] | None = None) -> Path:
        """Close the file and give it its final name; `attributes` are added first."""
        with self._explained():
            for name, value in (attributes or {}).items():
                self._file.setncattr(name if name in CF_ATTRIBUTES else PREFIX + name, str(value))
            self._file.close()
            os.replace(self.part, self.path)
        return self.path

    def close(self) -> None:
        """Close the partial file, to be resumed later."""
        with contextlib.suppress(RuntimeError, OSError):
            self._file.close()

    def _write_header(self) -> None:
        file, mesh = self._file, self.mesh
        file.set_auto_mask(False)
        cases = len(self.init_time)
        file.createDimension("case", cases)
        file.createDimension("member", self.num_members)
        file.createDimension("lead_time", None)
        cell_dims = ("latitude", "longitude") if mesh.structured else ("cell",)
        for name, length in zip(cell_dims, _file_shape(mesh, mesh.shape), strict=True):
            file.createDimension(name, length)
        _coordinate(file, "init_time", "i8", ("case",), self.init_time, standard_name="forecast_reference_time",
                    units=EPOCH, calendar="proleptic_gregorian", long_name="initial time")  # fmt: skip
        _coordinate(file, "trajectory", "i8", ("case",), self.trajectory,
                    long_name="index of the simulated trajectory, -1 for real data")  # fmt: skip
        _coordinate(file, "member", "i4", ("member",), np.arange(self.num_members), standard_name="realization")
        _, lead_units = _lead_axis(self.time_step, np.array([1]))
        _coordinate(file, "lead_time", "f8", ("lead_time",), None, standard_name="forecast_period",
                    units=lead_units, long_name="time since the initial time", axis="T")  # fmt: skip
        _coordinate(file, "lead_step", "i4", ("lead_time",), None, fill=0, units="1",
                    long_name="time steps since the initial time")  # fmt: skip
        _coordinate(file, "valid_time", "i8", ("case", "lead_time"), None, fill=-(2**62), standard_name="time",
                    units=EPOCH, calendar="proleptic_gregorian", long_name="initial time + lead time")  # fmt: skip
        if self.time_step.true_length is not None:
            note = f"nominal: one step of {self.time_step} is stored as {self.time_step.count} s"
            file["init_time"].comment = file["valid_time"].comment = note
        _write_places(file, mesh)
        where = "" if mesh.structured else " latitude longitude"
        for name, units in zip(self.variables, self.units, strict=True):
            chunks = (cases, self.num_members, 1, *_file_shape(mesh, mesh.shape))
            variable = file.createVariable(
                name,
                "f4",
                ("case", "member", "lead_time", *cell_dims),
                fill_value=np.float32(np.nan),
                chunksizes=chunks,
            )
            stem, level = split_level(name)
            variable.long_name = stem if level is None else f"{stem} at {level} hPa"
            variable.units = units
            variable.coordinates = f"init_time valid_time trajectory{where}"
            if standard_name := standard_name_of(name):
                variable.standard_name = standard_name
        texts = {
            "title": f"Forecast by {self.name}",
            "institution": "not stated",
            "source": f"emulator {self.name}, run by meshcast",
            "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by meshcast",
            **{name: value for name, value in self.attributes.items() if name in CF_ATTRIBUTES},
            **{PREFIX + name: value for name, value in self.attributes.items() if name not in CF_ATTRIBUTES},
            PREFIX + "emulator": self.name,
            PREFIX + "mesh": mesh_to_json(mesh),
            PREFIX + "time_step": time_step_to_json(self.time_step),
            PREFIX + "variables": json.dumps(self.variables),
        }
        file.setncatts({"Conventions": "CF-1.11", **{name: str(value) for name, value in texts.items()}})

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into what a user can do; the partial file stays only if it can be resumed."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # HDF5 hides what the system said in a RuntimeError
            if hasattr(self, "_file"):
                self.close()
            kept = self._keep_if_resumable()
            full = _no_room(self.part.parent, error)
            reason = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
            what = "Free some space" if full else "Choose a folder that exists and that you may write to"
            raise MeshcastError(f"Cannot write {self.path}: {reason}. {what}{kept}.") from None

    def _keep_if_resumable(self) -> str:
        try:
            again = ForecastWriter.resume(self.path)
            done = again.leads_done
            again.close()
        except MeshcastError:
            done = 0
        if done:
            return f", then run the same command to go on after the {done} lead times kept in {self.part}"
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)
        return " and run the command again"


def part_of(path: str | Path) -> Path:
    """The name of a forecast file that is not yet complete."""
    return Path(f"{path}.part")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise MeshcastError where the output is there already or is a folder."""
    if path.is_dir():
        raise MeshcastError(f"Cannot write the file {path}: a folder of that name is there. Choose another name.")
    if path.exists() and not overwrite:
        raise MeshcastError(f"The output {path} exists. Choose another name, or overwrite it with --overwrite.")


def read_forecast(path: str | Path) -> Forecast:
    """A forecast file: ours, another centre's CF NetCDF, or GRIB.

    Raises MeshcastError where the file is missing, damaged, incomplete, or no forecast.
    """
    path = Path(path)
    if not path.exists() and part_of(path).exists():
        raise MeshcastError(f"{path} is not complete: {part_of(path)} is. Run its forecast again to finish it.")
    if file_format(path) == "grib":
        from emulator.data.grib_file import read_grib_forecast

        return read_grib_forecast(path)
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            if PREFIX + "mesh" in file.ncattrs():
                return _read_ours(file)
    except (OSError, RuntimeError) as error:
        raise MeshcastError(f"{path} is damaged or truncated: {error}. Fetch it again.") from None
    from emulator.data.foreign_forecast import read_foreign_forecast

    return read_foreign_forecast(path)


def _read_ours(file: Any) -> Forecast:
    content = _header(file)
    steps = np.asarray(file["lead_step"][:], dtype=np.int64)
    whole = steps > 0
    fields = [np.asarray(file[name][:])[:, :, whole] for name in content["variables"]]
    values = np.stack([field.reshape(*field.shape[:3], -1) for field in fields], axis=-1)
    return Forecast(values=values, lead_steps=steps[whole], **content)


def _header(file: Any) -> dict[str, Any]:
    """Everything of a forecast but its values and lead times."""
    texts = {name: str(file.getncattr(name)) for name in file.ncattrs()}
    variables = tuple(json.loads(texts[PREFIX + "variables"]))
    attributes = {name: texts[name] for name in CF_ATTRIBUTES if name in texts}
    internal = {PREFIX + name for name in ("emulator", "mesh", "time_step", "variables")}
    attributes |= {name.removeprefix(PREFIX): value for name, value in texts.items()
                   if name.startswith(PREFIX) and name not in internal}  # fmt: skip
    return {
        "name": texts[PREFIX + "emulator"],
        "variables": variables,
        "units": tuple(str(file[name].units) for name in variables),
        "mesh": _read_places(file, texts[PREFIX + "mesh"]),
        "time_step": time_step_from_json(texts[PREFIX + "time_step"]),
        "init_time": np.asarray(file["init_time"][:], dtype=np.int64),
        "trajectory": np.asarray(file["trajectory"][:], dtype=np.int64),
        "attributes": attributes,
    }


def _write_places(file: Any, mesh: Mesh) -> None:
    """Latitudes, longitudes and the share of the domain of every node."""
    latitudes, longitudes = np.round(mesh.latitudes, 10), np.round(mesh.longitudes, 10)
    if mesh.structured:
        latitudes, longitudes = latitudes.reshape(mesh.shape)[:, 0], longitudes.reshape(mesh.shape)[0]
        longitudes = longitudes[0] + (longitudes - longitudes[0]) % 360.0  # CF: an axis must be monotonic
        if longitudes[-1] >= 360.0:
            longitudes = longitudes - 360.0
        dims: tuple[tuple[str, ...], ...] = (("latitude",), ("longitude",), ("latitude", "longitude"))
    else:
        dims = (("cell",),) * 3
    axes = ({"axis": "Y"}, {"axis": "X"}) if mesh.structured else ({}, {})
    _coordinate(file, "latitude", "f8", dims[0], latitudes, standard_name="latitude", units="degrees_north", **axes[0])
    _coordinate(
        file, "longitude", "f8", dims[1], longitudes, standard_name="longitude", units="degrees_east", **axes[1]
    )
    areas = mesh.areas.reshape(_file_shape(mesh, mesh.shape))
    _coordinate(file, "area", "f8", dims[2], areas, long_name="share of the domain; sums to one", units="1")


def _read_places(file: Any, description: str) -> Mesh:
    latitudes, longitudes = np.asarray(file["latitude"][:]), np.asarray(file["longitude"][:])
    if "latitude" in file.dimensions:
        rows, columns = np.meshgrid(latitudes, longitudes, indexing="ij")
        latitudes, longitudes = rows.ravel(), columns.ravel()
    mesh = mesh_from_coordinates(latitudes, longitudes, description)
    levels = tuple(json.loads(description).get("levels", ()))
    return replace(mesh, areas=np.asarray(file["area"][:], dtype=np.float64).ravel(), levels=levels)


def _file_shape(mesh: Mesh, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if mesh.structured else (mesh.num_nodes,)


def _coordinate(
    file: Any, name: str, kind: str, dims: tuple[str, ...], values: Any, fill: Any = None, **attributes: str
) -> None:
    variable = file.createVariable(name, kind, dims, fill_value=fill)
    variable.setncatts(attributes)
    if values is not None:
        variable[:] = values


def _lead_axis(time_step: TimeStep, steps: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
    """Lead times and their units in the file."""
    if time_step.true_length is not None:
        return np.asarray(steps * time_step.true_length, np.float64), time_step.true_units or "1"
    if time_step.unit == "month":
        return steps.astype(np.float64) * time_step.count, "months"
    for seconds, name in ((3600, "hours"), (60, "minutes")):
        if time_step.count % seconds == 0:
            return np.asarray(steps * (time_step.count / seconds), np.float64), name
    return steps.astype(np.float64) * time_step.count, "seconds"


def _no_room(folder: Path, error: BaseException) -> bool:
    import errno

    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error).lower()
    if "no space left" in text or "file too large" in text:
        return True
    try:
        return "hdf error" in text and shutil.disk_usage(folder).free < 2**20
    except OSError:
        return False


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Mesh):
        return first.same_nodes(second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return bool(first == (tuple(second) if isinstance(second, list) else second))
