"""The values of a forecast in a file: at its initial times, and of large ones where they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.read_later import read_later
from graphs.errors import refuse_damaged

INITIAL = "_initial"  # ending of the name of a variable at the initial time
LATER_BYTES = 2**23  # of a forecast read at once, where it is read later


def initial_values(
    arrays: Mapping[str, Any], variables: Sequence[str], shape: Sequence[int]
) -> NDArray[np.float32] | None:
    """Return the values at initial times [case, member, node, variable]; None where none are known.

    shape: of a variable, [case, member, lead, ...].
    """
    starts = [np.asarray(arrays[name + INITIAL][:]) if name + INITIAL in arrays else None for name in variables]
    unknown = np.full((*shape[:2], *shape[3:]), np.nan, np.float32)
    initial = [(unknown if one is None else one).reshape(*shape[:2], -1) for one in starts]
    return np.stack(initial, axis=-1) if any(one is not None for one in starts) else None


def values_later(path: Path, variables: Sequence[str], shape: Sequence[int], known: Collection[str]) -> tuple[Any, Any]:
    """Return values [case, member, lead, node, variable] and those at initial times, which are read case by case.

    shape: of a variable in the NetCDF file. known: names of all its arrays; without initial ones there are None.
    """
    cases, members, leads = shape[:3]
    nodes = int(np.prod(shape[3:]))
    fitting = max(1, min(leads, LATER_BYTES // (4 * members * nodes * len(variables))))
    whole = (cases, members, leads, nodes, len(variables))
    values = read_later(partial(_piece, path, variables, whole), whole, block=(1, members, fitting, *whole[3:]))
    starts = tuple(name + INITIAL if name + INITIAL in known else None for name in variables)
    if not any(starts):
        return values, None
    first = (cases, members, nodes, len(variables))
    return values, read_later(partial(_piece, path, starts, first), first, block=(1, *first[1:]))


_reading = threading.Lock()  # the NetCDF library knows one thread


def _piece(
    path: Path, names: Sequence[str | None], shape: Sequence[int], index: tuple[slice, ...]
) -> NDArray[np.float32]:
    """Return a piece of an array [case, member, ..., node, variable] in a file, NaN of a variable that is None."""
    import netCDF4

    *leading, nodes, columns = index
    values = np.full(
        [len(range(*one.indices(size))) for one, size in zip(index, shape, strict=True)], np.nan, np.float32
    )
    with _reading, refuse_damaged(path), netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        for column, name in enumerate(names[columns]):
            if name is not None:
                found = np.asarray(file[name][tuple(leading)])
                values[..., column] = found.reshape(*found.shape[: len(leading)], -1)[..., nodes]
    return values
