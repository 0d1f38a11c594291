"""Parts of a dataset's store: runs of dates that one worker writes, and what it finds of their values."""

from __future__ import annotations

import hashlib
import pickle
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import to_datetime, to_seconds
from graphs.errors import MeshcastError
from graphs.partial_folder import checksum

if TYPE_CHECKING:
    import xarray as xr

PART_BYTES = 2**27  # of values a part: what a worker holds, a few times over, and what a kill costs
STATISTICS = ("mean", "minimum", "maximum", "stdev")  # as Anemoi calls its arrays


@dataclass(frozen=True, eq=False)
class StorePart:
    """A run of dates of a store, and the fields to write there.

    store: path of it. first, stop: its dates. present: those that have fields, by number in the store.
    names: of the variables, in the store's order.
    counted: how many of the store's dates take part in its statistics, from the first on.
    dates, rows: that share a chunk.
    fields: pickled dataset of dims (time, number, cell) of the dates that are present; arrays of Dask are not computed.
    """

    store: str
    first: int
    stop: int
    present: NDArray[np.int64]
    names: tuple[str, ...]
    counted: int
    dates: int
    rows: int
    fields: bytes


@dataclass(frozen=True)
class Summary:
    """Describes a variable's values in some dates of a store, those that are missing not counted.

    size: of all values. seen: those that are numbers.
    count, mean, squares, minimum, maximum: of the dates that count for the statistics; squares is the sum of squared
        differences from the mean.
    constant: digest of the field that all these dates hold; empty where they differ, None where none has a value.
    """

    size: int = 0
    seen: int = 0
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf
    constant: str | None = None

    def joined(self, other: Summary) -> Summary:
        """Return what describes the dates of both, those of `other` after ours (Chan, Golub and LeVeque 1983)."""
        size, seen, count = self.size + other.size, self.seen + other.seen, self.count + other.count
        if other.count == 0 or self.count == 0:
            return replace(other if self.count == 0 else self, size=size, seen=seen)
        shift = other.mean - self.mean
        return Summary(
            size,
            seen,
            count,
            (self.count * self.mean + other.count * other.mean) / count,
            self.squares + other.squares + shift**2 * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.constant if self.constant == other.constant else "",
        )


def pack(fields: xr.Dataset) -> bytes:
    """Return fields as a worker takes them: of arrays that Dask has yet to compute, only what they are made from."""
    import cloudpickle
    import dask

    (fields,) = dask.optimize(fields)
    return bytes(cloudpickle.dumps(fields, protocol=pickle.HIGHEST_PROTOCOL))


def write_part(part: StorePart) -> dict[str, Any]:
    """Write a part of a store; return `summaries` [date, row, variable] of its chunks, and `files` with checksums.

    Raises MeshcastError where a value is infinite, or becomes so as float32, which would spoil all statistics.
    """
    import zarr
    from numcodecs import blosc

    blosc.use_threads = False  # several put the pieces of a chunk in the order in which they are done
    fields = pickle.loads(part.fields)
    path = Path(part.store)
    if not path.is_dir():
        raise MeshcastError(
            f"A worker on {socket.gethostname()} does not see {path}. Workers of other machines need the same folders, "
            "under the same names: name an output on a disk that all share."
        )
    array = zarr.open(str(path), "r+")["data"]
    summaries = []
    for first in range(0, array.shape[2], part.rows):
        rows = slice(first, min(first + part.rows, array.shape[2]))
        values = _values(fields.isel(number=rows), part.names)  # of each variable [time, row, cell]
        _refuse_infinite(
            values, fields["time"].values, whole=part.stop - part.first == len(array) and part.rows >= array.shape[2]
        )
        for dates in _chunks(part):
            here = (dates.start <= part.present) & (part.present < dates.stop)
            if not here.any():
                continue
            shape = dates.stop - dates.start, len(part.names), rows.stop - first, array.shape[3]
            block = np.full(shape, np.nan, np.float32)
            for column, name in enumerate(part.names):
                block[part.present[here] - dates.start, column] = values[name][here]
            array[dates, :, rows] = block
            present = part.present[here] - dates.start
            counted = int(np.clip(part.counted - dates.start, 0, len(block)))
            known = [astuple(_summary(block[:, column], present, counted)) for column in range(len(part.names))]
            summaries.append((dates.start, first, known))
    return {"summaries": summaries, "files": _checksums(part, array)}


def summary_of(found: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Summary]:
    """Return the summary of each variable over parts, by what `write_part` found of them, in their order.

    Chunk after chunk, so that it is the same however chunks make up parts.
    """
    whole = [Summary()] * len(names)
    for one in found:
        for _, _, known in sorted(one["summaries"], key=lambda chunk: (chunk[0], chunk[1])):
            whole = [before.joined(Summary(*of_chunk)) for before, of_chunk in zip(whole, known, strict=True)]
    return dict(zip(names, whole, strict=True))


def statistics_arrays(summaries: Sequence[Summary]) -> dict[str, NDArray[np.float64]]:
    """Return Anemoi's statistics [variable] by name."""
    known = [one if one.count else replace(one, mean=np.nan, minimum=np.nan, maximum=np.nan) for one in summaries]
    stdev = [np.sqrt(one.squares / one.count) if one.count else np.nan for one in known]
    columns = [one.mean for one in known], [one.minimum for one in known], [one.maximum for one in known], stdev
    return {name: np.array(column, np.float64) for name, column in zip(STATISTICS, columns, strict=True)}


def _values(fields: xr.Dataset, names: Sequence[str]) -> dict[str, NDArray[np.floating]]:
    """Return the values [time, row, cell] of some variables, computed here where they are not yet."""
    import dask

    with dask.config.set(scheduler="synchronous"):
        (loaded,) = dask.compute(fields)
    return {name: loaded[name].transpose("time", "number", "cell").values for name in names}


def _chunks(part: StorePart) -> Iterator[slice]:
    for first in range(part.first, part.stop, part.dates):
        yield slice(first, min(first + part.dates, part.stop))


def _summary(values: NDArray[np.float32], present: NDArray[np.int64], counted: int) -> Summary:
    """Return what describes values [date, row, cell] of one variable."""
    values = values[present]
    numbers = values[present < counted].astype(np.float64)
    nan = np.isnan(numbers)
    constant = _constant(numbers, nan)
    flat = numbers[~nan] if nan.any() else numbers.ravel()
    seen = values.size - int(np.isnan(values).sum())
    if flat.size == 0:
        return Summary(values.size, seen)
    mean = float(flat.mean())
    low, high = float(flat.min()), float(flat.max())
    flat = flat - mean
    return Summary(values.size, seen, flat.size, mean, float(np.square(flat, out=flat).sum()), low, high, constant)


def _constant(values: NDArray[np.float64], nan: NDArray[np.bool_]) -> str | None:
    """Return the digest of the field that all dates hold which have a value; empty where they differ."""
    there = ~nan.all(axis=tuple(range(1, nan.ndim)))
    if not there.any():
        return None
    first = int(np.argmax(there))
    same = (values[there] == values[first]) | (nan[there] & nan[first])
    return hashlib.sha256((values[first] + 0.0).tobytes()).hexdigest() if same.all() else ""


def _refuse_infinite(values: Mapping[str, NDArray[np.floating]], times: NDArray[np.datetime64], whole: bool) -> None:
    """Raise MeshcastError where a value [time, row, cell] of a variable is infinite.

    whole: whether these are all values that there are.
    """
    for name, those in values.items():
        with np.errstate(over="ignore"):
            infinite = np.isinf(those.astype(np.float32, copy=False))
        if infinite.any():
            time, row, cell = np.argwhere(infinite)[0]
            moment = to_datetime(to_seconds(times[[time]]))[0]
            raise MeshcastError(
                f"{name} has {'' if whole else 'at least '}{int(infinite.sum())} infinite values; the first is "
                f"{float(those[time, row, cell]):g} at {moment}, cell {cell}. Correct them, or make them NaN where "
                "there is no value."
            )


def _checksums(part: StorePart, array: Any) -> dict[str, int]:
    """Return checksums of the chunks of a part that are there, by path from the folder that holds the store."""
    store, dates = Path(part.store), range(part.first // part.dates, -(-part.stop // part.dates))
    keys = (array._chunk_key(place) for place in product(dates, *map(range, array.cdata_shape[1:])))
    return {f"{store.name}/{key}": checksum(store / key) for key in keys if (store / key).exists()}
