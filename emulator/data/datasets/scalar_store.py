"""Global scalars in the store of a dataset, as arrays beside Anemoi's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emulator.foundation.typed_json import typed_json
from emulator.global_scalars import GlobalScalars
from graphs.errors import MeshcastError

VALUES, TIMES = "global_scalars", "global_scalar_times"  # [time, row, scalar], and [time] seconds since 1970 UTC
ATTRIBUTE = "global_scalars"


@dataclass(frozen=True)
class _Columns:
    """What the arrays hold, as JSON."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    trajectories: tuple[int, ...]


def write_scalars(path: Path, scalars: GlobalScalars) -> None:
    """Add global scalars to a dataset's store."""
    import zarr

    store = zarr.open(str(path), "r+")
    for name, array in ((VALUES, scalars.values), (TIMES, scalars.times)):
        store.create_dataset(name, data=array, chunks=array.shape)
    about = {"names": scalars.names, "units": scalars.units, "trajectories": scalars.trajectories}
    store.attrs[ATTRIBUTE] = json.dumps(about)


def read_scalars(stores: Sequence[Any], trajectories: Sequence[int], source: str) -> GlobalScalars | None:
    """Return the global scalars of trajectories, by number, in the stores of a dataset, None where no store has any.

    Raises MeshcastError where a store's are damaged, lack a trajectory, or differ between stores that are joined.
    """
    found = [scalars for scalars in (_of_store(store, source) for store in stores) if scalars is not None]
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        same = (first.names, first.units, first.trajectories) == (other.names, other.units, other.trajectories)
        if not (same and np.array_equal(first.times, other.times) and np.array_equal(first.values, other.values)):
            raise MeshcastError(
                f"{source} joins datasets with different global scalars, and no trajectory would know its own. Use "
                "each alone, or store them together."
            )
    if lost := [number for number in trajectories if number not in first.trajectories]:
        raise MeshcastError(
            f"{source} has no {', '.join(first.names)} of trajectory {lost[0]}. Copy it again, or make it anew."
        )
    return first.of_rows([first.trajectories.index(number) for number in trajectories])


def _of_store(store: Any, source: str) -> GlobalScalars | None:
    if ATTRIBUTE not in store.attrs:
        return None
    columns = typed_json(_Columns, store.attrs[ATTRIBUTE])
    values, times = store[VALUES], store[TIMES]
    if any(array.nchunks_initialized != array.nchunks for array in (values, times)):
        raise MeshcastError(f"{source} is damaged: pieces of its global scalars are not there. Copy it again.")
    return GlobalScalars(
        columns.names,
        columns.units,
        np.asarray(times[:], np.int64),
        columns.trajectories,
        np.asarray(values[:], np.float64),
        source,
    )
