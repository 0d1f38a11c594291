"""Fields of an anemoi dataset, opened by `anemoi.datasets.open_dataset` as it stands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import mesh_from_coordinates, remarks_on, time_step_from_json
from emulator.data.datasets.scalar_store import read_scalars
from emulator.data.forecast_zarr import is_zarr_forecast
from emulator.data.series import joined_attributes
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError, refuse_damaged

Source = str | list[Any] | dict[str, Any]

# What anemoi-datasets writes about itself, and we about the coordinates; every other text travels with the data.
NOT_CARRIED = frozenset(
    """allow_nans calendar_step creation_timestamp dtype end_date ensemble_axis ensemble_dimension flatten_grid format
    frequency last_date latest_write_timestamp layout mesh resolution start_date statistics_end_date
    statistics_start_date time_step total_size trajectories uuid version write_uuid global_scalars""".split()
)


def open_dataset_fields(source: Source) -> DatasetFields:
    """Return the fields of an anemoi dataset: a path, or what `anemoi.datasets.open_dataset` takes as it stands."""
    dataset = _opened(source)
    if not isinstance(source, str) and len(dataset.dates) < 2:
        raise MeshcastError(
            f"Of the dates of {describe(source)} {len(dataset.dates)} is left, but a time step lies between two. Let "
            "start and end take in more."
        )
    with refuse_damaged(describe(source)):
        return DatasetFields(dataset, source)


def _opened(source: Source) -> Any:
    from anemoi.datasets import open_dataset

    report_from_a_thread()
    _refuse_cut_pieces()
    if forecasts := [path for path in _paths_in(source) if is_zarr_forecast(Path(path))]:
        raise MeshcastError(
            f"{forecasts[0]} holds forecasts, by initial time and lead time, so one valid time may stand there several "
            "times. `meshcast verify` reads it as a forecast; for initial states, a truth or a dataset give analyses."
        )
    try:
        return open_dataset(source)
    except Exception as error:  # whatever its layers raise, the source is what the user wrote
        absent = [path for path in _paths_in(source) if not Path(path).exists()]
        if not absent and isinstance(source, str) and "Cannot find a dataset that matched" in str(error):
            absent = [source]
        if absent:
            raise MeshcastError(
                f"There is no file or dataset {', '.join(absent)}. Name one that exists, or make a dataset first, with "
                "`meshcast simulate` or `meshcast dataset`."
            ) from error
        reason = str(error).split("\n", 1)[0][:300].rstrip(".")  # those of object stores go on for pages
        raise MeshcastError(
            f"Cannot open the dataset {describe(source)}: {type(error).__name__}: {reason}. Give the path of an anemoi "
            "dataset (.zarr), or what anemoi.datasets.open_dataset takes."
        ) from error


def report_from_a_thread() -> None:
    """Have anemoi-datasets report opened stores from a thread instead of a process.

    It forks one at the first store it opens, whether reports are allowed or not. A fork of a process that holds torch
    and its threads may hang, and outlives a run that is killed.
    """
    from anemoi.datasets.usage import analytics

    executor: Executor | None = getattr(analytics, "_executor", None)
    if isinstance(executor, ProcessPoolExecutor):
        analytics._executor = ThreadPoolExecutor(max_workers=1)  # type: ignore[assignment]


@cache
def _refuse_cut_pieces() -> None:
    """Have pieces of arrays that were cut short refused: Blosc itself reads on beyond their end."""
    from numcodecs import Blosc
    from numcodecs.registry import register_codec

    class WholeBlosc(Blosc):
        """Blosc that compares a piece with the length in its header (C-Blosc's chunk format, bytes 12 to 15)."""

        codec_id = "blosc"

        def decode(self, buf: Any, out: Any = None) -> Any:
            content = memoryview(buf).cast("B")
            if len(content) < 16 or int.from_bytes(content[12:16], "little") != len(content):
                raise ValueError(f"a piece of an array has {len(content)} bytes, not those that it begins with")
            return super().decode(buf, out)

    register_codec(WholeBlosc)


def _paths_in(source: Any) -> list[str]:
    if isinstance(source, str):
        return [source] if source.rstrip("/").endswith(".zarr") and "://" not in source else []
    inner = source.values() if isinstance(source, dict) else source if isinstance(source, list | tuple) else ()
    return [path for one in inner for path in _paths_in(one)]


def _absolute(source: Any) -> Any:
    """Return a source with the paths of datasets on this machine made absolute."""
    if isinstance(source, str):
        return os.path.abspath(source) if _paths_in(source) else source
    if isinstance(source, dict):
        return {name: _absolute(value) for name, value in source.items()}
    return [_absolute(one) for one in source] if isinstance(source, list | tuple) else source


def describe(source: Source) -> str:
    """Return a source in one line."""
    return source if isinstance(source, str) else json.dumps(source, default=str)


class DatasetFields(Fields):
    """`Fields` over an opened anemoi dataset [date, variable, ensemble, cell]."""

    def __init__(self, dataset: Any, source: Source) -> None:
        self.dataset, self._source = dataset, source
        self.source = describe(source)
        self.ensemble_size = dataset.shape[2]
        self.stores = list({id(store): store for store in _stores(dataset)}.values())
        for store in self.stores:
            _refuse_absent_chunks(store, self.source)
        self.ensemble_axis = "trajectory" if self._attribute("ensemble_axis") == "trajectory" else "member"
        numbers = typed_json(list[int], self._attribute("trajectories") or "[]")
        self.trajectories = numbers if len(numbers) == self.ensemble_size else range(self.ensemble_size)
        self.variables = tuple(sorted(dataset.name_to_index, key=dataset.name_to_index.__getitem__))
        metadata = dataset.variables_metadata
        self.units = tuple(str(metadata.get(name, {}).get("units") or "1") for name in self.variables)
        self.mesh = mesh_from_coordinates(dataset.latitudes, dataset.longitudes, self._attribute("mesh"))
        self.notices = tuple(f"{self.source}: {remark}" for remark in remarks_on(self.mesh))
        self.attributes = joined_attributes(
            {name: value for name, value in store.store.attrs.items() if _travels(name, value)} for store in self.stores
        )
        self.times = to_seconds(dataset.dates)
        if self.times.shape != dataset.shape[:1]:
            raise MeshcastError(
                f"{self.source} is damaged: its data hold {dataset.shape[0]} times, but its dates have shape "
                f"{list(self.times.shape)}. Fetch it again, or make it anew."
            )
        self.scalars = read_scalars([store.store for store in self.stores], self.trajectories, self.source)
        self.missing = frozenset(int(index) for index in dataset.missing)
        self.time_step = self._time_step()

    def __reduce__(self) -> tuple[Any, tuple[Source]]:
        """Tell how a worker opens the same."""
        return open_dataset_fields, (_absolute(self._source),)

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        with refuse_damaged(self.source):
            blocks = [self._block(run, rows, columns) for run in _runs(times)]
        if not blocks:
            return np.empty((0, len(rows), self.mesh.num_nodes, len(columns)), dtype=np.float32)
        return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)).transpose(0, 2, 3, 1)

    def _block(self, run: slice, rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        """Return [date, variable, row, cell], having read no other rows of neighbours, and no chunk of other variables
        alone."""
        neighbours = bool(len(rows)) and np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))
        together = slice(int(rows[0]), int(rows[-1]) + 1) if neighbours else slice(None)
        pieces = []
        for read in _shared_reads(columns, self._variables_a_chunk):
            piece = np.asarray(self.dataset[run, read, together])
            inside = [column - read.start for column in sorted(set(columns)) if read.start <= column < read.stop]
            piece = piece if len(inside) == piece.shape[1] else piece[:, inside]
            pieces.append(piece if neighbours else piece[:, :, rows])
        found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        order = np.searchsorted(sorted(set(columns)), columns)
        return found if np.array_equal(order, np.arange(found.shape[1])) else found[:, order]

    @cached_property
    def _variables_a_chunk(self) -> int:
        return max(int(store.store["data"].chunks[1]) for store in self.stores)

    def _attribute(self, name: str) -> Any:
        return next((store.store.attrs[name] for store in self.stores if name in store.store.attrs), None)

    def _time_step(self) -> TimeStep:
        """Return the stored step, times how many of the store's dates one date of the opened dataset spans."""
        seconds = int(self.dataset.frequency.total_seconds())
        if (stored := self._attribute("time_step")) is not None:
            step = time_step_from_json(stored)
        elif calendar_step := self._attribute("calendar_step"):
            step = TimeStep.parse(calendar_step)
        else:
            return TimeStep(seconds)
        return step.times(max(1, round(seconds / self.stores[0].frequency.total_seconds())))


def _shared_reads(columns: list[int], variables_a_chunk: int) -> Iterator[slice]:
    """Yield the slices of variables that hold some columns: one where they are neighbours or share a chunk."""
    chosen = np.unique(columns)
    for some in np.split(chosen, np.flatnonzero(np.diff(chosen) >= max(2, variables_a_chunk)) + 1):
        yield slice(int(some[0]), int(some[-1]) + 1)


def _refuse_absent_chunks(store: Any, source: str) -> None:
    """Raise MeshcastError where a piece of an array on this machine is not there: zarr reads its fill value instead.

    The pieces that hold missing dates alone may be absent.
    """
    from zarr.storage import DirectoryStore, ZipStore

    missing = {int(date) for date in store.missing}
    for name in ("dates", "latitudes", "longitudes", "data"):
        array = store.store[name]
        if not isinstance(array.chunk_store, DirectoryStore | ZipStore) or array.nchunks_initialized == array.nchunks:
            continue
        wanted = (
            array._chunk_key((first, *rest))
            for first in range(array.cdata_shape[0])
            if name != "data" or not missing.issuperset(_dates_of(first, array))
            for rest in _places(array.cdata_shape[1:])
        )
        lost = (key for key in wanted if key not in array.chunk_store)
        if (first := next(lost, None)) is not None:
            raise MeshcastError(
                f"{source} is damaged: of the {array.nchunks:,} pieces of its {name} only {array.nchunks_initialized:,}"
                f" are there; {first} is the first that is not. Copy it again, or make it anew."
            )


def _places(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the places of a grid of any size, none of them in memory, where `product` keeps every index of a side."""
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in _places(shape[1:]):
            yield (first, *rest)


def _dates_of(chunk: int, array: Any) -> range:
    return range(chunk * array.chunks[0], min((chunk + 1) * array.chunks[0], array.shape[0]))


def _travels(name: str, value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "unknown") and name not in NOT_CARRIED


def _stores(dataset: Any) -> Iterator[Any]:
    """The zarr stores beneath joins, selections and subsets."""
    if hasattr(dataset, "store"):
        yield dataset
        return
    for name in ("datasets", "target", "forward", "dataset"):
        below = getattr(dataset, name, None)
        for child in below if isinstance(below, (list, tuple)) else [below] if below is not None else []:
            yield from _stores(child)
        if below is not None:
            return


def _runs(index: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of consecutive indices, as slices: one read of the store each."""
    if len(index):
        for run in np.split(index, np.flatnonzero(np.diff(index) != 1) + 1):
            yield slice(int(run[0]), int(run[-1]) + 1)
