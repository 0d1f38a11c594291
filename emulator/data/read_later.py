"""Arrays that are read, a part at a time, where they are asked for: Dask's, of readers that can be sent to a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphs.geometry import Index

BLOCK_BYTES = 2**20  # of an array read at once, at most: a part of a dataset takes whole blocks of every variable
STREAMED_BYTES = 2**26  # of files: those that take more are read later, and a part at a time

Reader = Callable[[tuple[slice, ...]], NDArray[np.float32]]


def read_later(read: Reader, shape: Sequence[int], times: int | None = None, block: Sequence[int] | None = None) -> Any:
    """Return an array [time, number, ...] of float32 that is read in blocks of some times of one number.

    read: gives the values within slices, one for each axis. It is sent to workers, so that it holds paths and no files.
    times: a block, in place of as many as take `BLOCK_BYTES`. block: the shape of one, where the axes are others.
    """
    import dask.array as da

    fitting = BLOCK_BYTES // max(4 * int(np.prod(shape[2:])), 1)
    block = tuple(block or (max(1, min(times or fitting, shape[0])), 1, *shape[2:]))
    return da.from_array(_Stored(read, tuple(shape)), block, asarray=False, fancy=False)


def is_read_later(values: Any) -> bool:
    """Return whether an array's values are yet to be read."""
    return not isinstance(values, np.ndarray) and hasattr(values, "__dask_graph__")


def joined_values(
    pieces: Sequence[tuple[Any, NDArray[np.int64] | None, Index]], times: NDArray[np.int64], numbers: Index
) -> Any:
    """Return values [time, number, cell] at these times, of these numbers; not yet read where those of a piece are not.

    pieces: values, times and numbers of each; together they hold every number at every time once.
    """
    if not any(is_read_later(values) for values, _, _ in pieces):
        whole = np.empty((len(times), len(numbers), pieces[0][0].shape[2]), np.float32)
        for values, found, rows in pieces:
            assert found is not None
            whole[np.ix_(np.searchsorted(times, found), np.searchsorted(numbers, rows))] = values
        return whole
    import dask.array as da

    members = []
    for number in numbers.tolist():
        those = [piece for piece in pieces if number in piece[2]]
        order = np.argsort(np.concatenate([found for _, found, _ in those if found is not None]))
        places = [found.tolist().index(number) for _, _, found in those]
        values = da.concatenate([piece[0][:, row : row + 1] for piece, row in zip(those, places, strict=True)])
        members.append(values if np.all(np.diff(order) == 1) else values[order])
    return da.concatenate(members, axis=1)


@dataclass(frozen=True, eq=False)
class _Stored:
    """What Dask asks for the pieces of an array."""

    read: Reader
    shape: tuple[int, ...]
    dtype = np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        index = index if isinstance(index, tuple) else (index,)
        index += (slice(None),) * (self.ndim - len(index))
        values = self.read(tuple(one if isinstance(one, slice) else slice(one, one + 1) for one in index))
        return values[tuple(slice(None) if isinstance(one, slice) else 0 for one in index)]
