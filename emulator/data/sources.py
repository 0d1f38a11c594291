"""Data sources: whatever a user names as data is opened here, by its format; windows and rows of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emulator.data.arrays import in_memory
from emulator.data.coordinates import nodes_among
from emulator.data.datasets.dataset_fields import Source, describe, open_dataset_fields
from emulator.data.files import fields_of_files, static_fields_of_files
from emulator.data.forecast import Forecast, NoForecastError
from emulator.data.forecast_file import partial_file, read_forecast
from emulator.data.formats import format_of, named_format
from emulator.data.read_later import is_read_later
from emulator.data.series import NUMBER
from emulator.fields import DESCRIPTION, Fields
from emulator.foundation.fetched_files import files_here, is_plain_path, local_files, restored_address
from graphs.errors import MeshcastError
from graphs.geometry import Index
from graphs.mesh import Mesh
from graphs.meshes.limited_area import Window, limited_area


def open_fields(
    source: Any,
    trajectories: slice | str | None = None,
    keep_in_memory: bool = False,
    window: Window | None = None,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    names: Collection[str] = (),
    forecasts: bool = False,
    statics: Sequence[str] = (),
) -> Fields:
    """Return the fields of whatever a user names as data.

    source: an anemoi dataset (a path, or a list or dict as `anemoi.datasets.open_dataset` takes: join, select, cutout,
        dates ...), an array (.npy) of a benchmark protocol, one or several GRIB, NetCDF or The Well's files,
        whatever brings such (standard input `-`, an address, a pattern, a request in YAML, an earthkit FieldList, an
        xarray Dataset; see `emulator.foundation.fetched_files`), or whatever is of a registered format
        (`emulator.data.formats`).
    trajectories: some rows of the ensemble axis; or what tells independent trajectories apart that the source itself
        takes for members: `files`, a file each, or the name of a dimension (of a dataset, `number`).
    keep_in_memory: read each variable once, when it is asked for, where all take less than a gigabyte or than half of
        the memory left.
    window: the part of the sphere to keep, and the boundary around it.
    rename, units, forecasts: of the variables of files; see `read_files`.
    names: of the variables that are needed; where files hold them all, their others are not read.
    statics: files or datasets of fields that never change, such as orography, to stand beside the source's own.
    """
    dimension = trajectories if isinstance(trajectories, str) else None
    fields = _whole(source, rename or {}, units or {}, dimension, names, forecasts)
    for static in statics:
        fields = FieldsWithStatics(fields, open_static_fields(static))
    if isinstance(trajectories, slice):
        _refuse_outside(trajectories, fields.ensemble_size, source)
        fields = FieldsView(fields, rows=range(fields.ensemble_size)[trajectories])
    if window is not None:
        fields = in_window(fields, window)
    return in_memory(fields) if keep_in_memory else fields


def open_static_fields(source: str) -> Fields:
    """Return fields that never change; the first time of a dataset serves all."""
    return static_fields_of_files([source]) if format_of(source).open_fields is None else open_fields(source)


def open_source(path: str | Path) -> Fields | Forecast:
    """Return the forecast that a file holds, or the fields of any other source; refuse one that is not complete."""
    path = restored_address(path)
    if not is_plain_path(path) and named_format(path) is None:
        with local_files(path) as files:
            return open_source(files[0])
    unfinished = partial_file(path).exists() and not Path(path).exists()
    refused: MeshcastError | None = None
    if unfinished or format_of(path).read_forecast is not None:
        try:
            return read_forecast(path)
        except NoForecastError:
            pass
        except MeshcastError as error:  # of a forecast, or of fields that a reader of forecasts does not understand
            refused = error
            if unfinished:
                raise
    try:
        return open_fields(str(path))
    except MeshcastError as error:
        raise refused or error from error


def rows_or_dimension(text: str | None) -> slice | str | None:
    """Return what `--trajectories` says: FIRST:STOP rows, or what tells trajectories apart; see `open_fields`."""
    if text is None or not text.strip():
        return None
    try:
        begin, end = (int(number) for number in text.split(":"))
    except ValueError:
        if re.fullmatch(r"[A-Za-z_]\w*", text):
            return text
        raise MeshcastError(
            f"--trajectories takes FIRST:STOP, e.g. 0:10, `files`, or the name of a dimension, but got {text!r}."
        ) from None
    return slice(begin, end)


def _whole(
    source: Any,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    trajectories: str | None,
    names: Collection[str],
    forecasts: bool,
) -> Fields:
    listed = list(source) if isinstance(source, (list, tuple)) else [source]
    if not listed:
        raise MeshcastError("No source of data is given. Name a dataset or files.")
    if any(hasattr(one, "data_vars") or hasattr(one, "to_target") for one in listed):
        return fields_of_files(listed, rename, units, trajectories, names, forecasts)
    if not all(isinstance(one, (str, Path)) for one in listed):
        return _told_apart(open_dataset_fields(source), trajectories)
    if files := files_here(listed):
        open_files = format_of(files[0]).open_files
        if open_files and all(format_of(file).open_files is open_files for file in files):
            return open_files(files, rename, units, trajectories)
    formats = [format_of(one) for one in listed]
    if all(one.open_fields is None for one in formats):
        return fields_of_files(listed, rename, units, trajectories, names, forecasts)
    paths = [str(one) for one in listed]
    if len(paths) == 1 and formats[0].open_fields is not None:
        return _told_apart(formats[0].open_fields(paths[0]), trajectories)
    return _told_apart(open_dataset_fields(paths), trajectories)


def _told_apart(fields: Fields, trajectories: str | None) -> Fields:
    """Return the rows of a dataset as trajectories where `number` says so."""
    if trajectories is None:
        return fields
    if trajectories != NUMBER:
        raise MeshcastError(
            f"{fields.source} is a dataset, whose rows are its {NUMBER}, not {trajectories}. Say --trajectories "
            f"{NUMBER}, or make a dataset of the files with `meshcast dataset --trajectories {trajectories}`."
        )
    return FieldsView(fields, ensemble_axis="trajectory")


def _refuse_outside(trajectories: slice, size: int, source: Source) -> None:
    first, stop = trajectories.start or 0, size if trajectories.stop is None else trajectories.stop
    if not 0 <= first < stop <= size:
        raise MeshcastError(
            f"The trajectories {first}:{stop} are not all in {describe(source)}, whose ensemble axis holds {size}. "
            f"Count from 0, the last is not included: 0:{size} is all."
        )


def in_window(fields: Fields, window: Window) -> Fields:
    """Return the fields within a window and the boundary around it; see `graphs.meshes.limited_area`."""
    mesh, nodes = limited_area(fields.mesh, window)
    return FieldsView(fields, mesh, nodes)


def on_area(fields: Fields, area: Mesh) -> Fields:
    """Return fields of a larger area, such as global data, on the nodes of a window, where they have them all."""
    if area.boundary is None or fields.mesh.same_nodes(area):
        return fields
    nodes = nodes_among(fields.mesh, area)
    return fields if nodes is None else FieldsView(fields, area, nodes)


def forecast_on_area(forecast: Forecast, area: Mesh) -> Forecast:
    """Return a forecast of a larger area on the nodes of a window; as it is where it lacks some."""
    nodes = None if area.boundary is None else nodes_among(forecast.mesh, area)
    if nodes is None:
        return forecast
    cut = forecast.values[..., nodes, :]
    return replace(forecast, values=cut if is_read_later(cut) else np.ascontiguousarray(cut), mesh=area)


class FieldsView(Fields):
    """`Fields` on some of the `nodes` of others, which lie on `mesh`, or some `rows` of their ensemble axis.

    ensemble_axis: what the rows are, where the fields say it wrongly.
    """

    def __init__(
        self,
        fields: Fields,
        mesh: Mesh | None = None,
        nodes: Index | None = None,
        rows: Sequence[int] | None = None,
        ensemble_axis: Literal["trajectory", "member"] | None = None,
    ) -> None:
        self.fields, self.mesh, self.nodes = fields, mesh or fields.mesh, nodes
        for name in DESCRIPTION:
            setattr(self, name, getattr(fields, name))
        self.ensemble_axis = ensemble_axis or fields.ensemble_axis
        self.rows = np.arange(fields.ensemble_size) if rows is None else np.asarray(rows)
        self.ensemble_size = len(self.rows)
        self.trajectories = [fields.trajectories[row] for row in self.rows.tolist()]
        if fields.scalars is not None:
            self.scalars = fields.scalars.of_rows(self.rows.tolist())

    def _read(self, times: Index, rows: Index, columns: list[int]) -> NDArray[np.floating]:
        names = [self.variables[column] for column in columns]
        values = self.fields.read(times, names, self.rows[rows].tolist())
        return values if self.nodes is None else values[:, :, self.nodes]


class FieldsWithStatics(FieldsView):
    """`Fields` with further variables that never change: the `statics` of a source on the same nodes."""

    def __init__(self, fields: Fields, statics: Fields) -> None:
        nodes = nodes_among(statics.mesh, fields.mesh)
        if nodes is None:
            raise MeshcastError(
                f"The static fields of {statics.source} lie on a {statics.mesh.describe()}, which lacks nodes of "
                f"{fields.source}, a {fields.mesh.describe()}. Remap them to the same grid first."
            )
        if twice := sorted(set(statics.variables) & set(fields.variables)):
            raise MeshcastError(f"{', '.join(twice)} stands in {fields.source} and in {statics.source}. Give it once.")
        super().__init__(fields)
        self.variables, self.units = fields.variables + statics.variables, fields.units + statics.units
        first = min(set(range(len(statics.times))) - statics.missing)
        self.constants = statics.read(np.array([first]), statics.variables, 0)[0, 0, nodes]  # [node, static]

    def _read(self, times: Index, rows: Index, columns: list[int]) -> NDArray[np.floating]:
        own = len(self.fields.variables)
        names = [self.fields.variables[column] for column in columns if column < own]
        changing = iter(np.moveaxis(self.fields.read(times, names, rows.tolist()), -1, 0)) if names else iter(())
        shape = (len(times), len(rows), self.mesh.num_nodes)
        values = [
            next(changing) if column < own else np.broadcast_to(self.constants[:, column - own], shape)
            for column in columns
        ]
        return np.stack(values, axis=-1)
