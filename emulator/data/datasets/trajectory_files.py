"""Trajectories on disk on their way into a dataset: a file for those that a solver advances together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulator.data.read_later import read_later
from emulator.foundation.workers import Workers
from graphs.atomic_file import atomic_file
from graphs.partial_folder import PartialFolder, checksum

if TYPE_CHECKING:
    import dask.array as da

Frames = Callable[[], Iterable[NDArray[np.floating]]]


@dataclass(frozen=True)
class Trajectories:
    """Some trajectories, which depend on none of the others.

    frames: gives their frames [row, node, variable], one after another.
    """

    frames: Frames
    num_frames: int
    num_rows: int


@dataclass(frozen=True)
class _Part:
    name: str
    path: str
    trajectories: Trajectories


def write_trajectories(
    folder: PartialFolder, trajectories: Sequence[Trajectories], workers: Workers, done: Callable[[int], None]
) -> da.Array:
    """Write the trajectories that are not in a folder; return all [frame, trajectory, variable, node], not yet read.

    done: takes how many of them are.
    """
    parts = [
        _Part(name, str((folder.folder / f"{name}.npy").absolute()), some)
        for number, some in enumerate(trajectories)
        for name in [f"trajectories-{number:06d}"]
    ]
    missing = [part for part in parts if folder.found(part.name) is None]
    finished = len(parts) - len(missing)
    done(finished)
    for part, digest in workers.results(_write, missing):
        folder.finish(part.name, {}, {f"{part.name}.npy": digest})
        finished += 1
        done(finished)
    return _joined([part.path for part in parts])


def _write(part: _Part) -> int:
    """Write the file of a part, whole or not at all, float32 [frame, row, variable, node]; return its checksum."""
    path = Path(part.path)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        count = 0
        for frame in part.trajectories.frames():
            with np.errstate(over="ignore"):  # what becomes infinite is refused where it enters the store
                values = np.ascontiguousarray(frame.swapaxes(1, 2), np.float32)  # [row, variable, node]
            if count == 0:
                shape = part.trajectories.num_frames, *values.shape
                about = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, about)
            file.write(values.data)
            count += 1
        assert count == part.trajectories.num_frames
    return checksum(path)


def _joined(paths: Sequence[str]) -> da.Array:
    import dask.array as da

    shapes = [np.load(path, mmap_mode="r", allow_pickle=False).shape for path in paths]
    return da.concatenate(
        [read_later(partial(_piece, path), shape) for path, shape in zip(paths, shapes, strict=True)], axis=1
    )


def _piece(path: str, index: tuple[slice, ...]) -> NDArray[np.float32]:
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[index])
