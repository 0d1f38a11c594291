"""NetCDF files that lead elsewhere or declare more than they hold, refused before a value is read."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from emulator.foundation.trial import tried
from graphs.available_memory import readable, refuse_too_large
from graphs.errors import MeshcastError

MOST_INFLATED = 2**14  # bytes of values for one of the file; zlib comes to 1030, other filters to a few thousand
ALWAYS_FEW = 2**26  # bytes of values


def refuse_hostile(path: Path, whole: bool = True) -> None:
    """Raise MeshcastError where a NetCDF file names other files, or declares what neither it nor memory can hold.

    Tried in a process of its own: HDF5 goes round for ever in some damaged files, and crashes where a disk fails. What
    passed is not tried again while it stays as it is, since several readers may look at one file in turn.

    whole: whether all of a variable is to be read, which must then fit in memory.
    """
    found = path.stat()
    identity = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    _refuse_as_it_is(path, *identity)
    if whole:
        name, size = _largest(path, *identity)
        if size > ALWAYS_FEW:
            refuse_too_large(size, f"{name} of {path}", "Cut a part out of the file first.")


@lru_cache(maxsize=64)
def _refuse_as_it_is(path: Path, *identity: int) -> None:
    import h5py  # noqa: F401  here, so that no fork has to
    import netCDF4  # noqa: F401

    tried(_refuse_hostile, path)


@lru_cache(maxsize=64)
def _largest(path: Path, *identity: int) -> tuple[str, int]:
    """Return the name of the variable with the most values, and its bytes."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        declared = {name: _bytes(variable) for name, variable in _variables(file)}
    largest = max(declared, key=declared.__getitem__, default="")
    return largest, declared.get(largest, 0)


def _refuse_hostile(path: Path) -> None:
    import netCDF4

    with netCDF4.Dataset(path) as file:  # first, since it refuses damage that ends a process in h5py
        size, variables = path.stat().st_size, list(_variables(file))
        declared = {name: _bytes(variable) for name, variable in variables}
        for holder in (file, *(variable for _, variable in variables)):
            for name in holder.ncattrs():
                holder.getncattr(name)
    with path.open("rb") as content:
        is_hdf5 = content.read(4) == b"\x89HDF"
    if is_hdf5:
        _refuse_other_files(path)
    total = sum(declared.values())
    if total > MOST_INFLATED * size + ALWAYS_FEW:
        raise MeshcastError(
            f"{path} declares {readable(total)} of values, but the file has {readable(size)}, which cannot hold them. "
            "It is damaged or was never filled; fetch it again."
        )


def _variables(group: Any) -> Any:
    yield from group.variables.items()
    for inner in group.groups.values():
        yield from _variables(inner)


def _bytes(variable: Any) -> int:
    return math.prod(map(int, variable.shape)) * int(getattr(variable.dtype, "itemsize", 1) or 1)


def _refuse_other_files(path: Path) -> None:
    """Raise MeshcastError where an HDF5 file has links, values or views that lie in other files.

    HDF5 would follow them to whatever this user may read.
    """
    import h5py

    with h5py.File(path, "r") as file:
        seen: set[int] = set()
        groups = [file["/"]]
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.SoftLink):
                    continue
                item = None if isinstance(link, h5py.ExternalLink) else group[name]
                outside = item is None or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual))
                if outside:
                    raise MeshcastError(
                        f"{path} keeps {name} in another file, which is not opened. Copy all values into one file "
                        "(nccopy, ncks) first."
                    )
                if isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                    seen.add(address)
                    groups.append(item)
