"""Fields held in arrays: in memory, or in the plain `*_train.npy`, `*_test.npy` files of benchmark protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.ring import ring


@dataclass(frozen=True, eq=False)
class ArrayFields:
    """Fields in one array: values [time, ensemble, node, variable]; the rest as in `Fields`.

    trajectories: [ensemble] the numbers the ensemble axis had where this was cut out of more, None where it is whole.
    notices: a line for each thing that was converted, moved or assumed when the fields were read.
    """

    values: NDArray[np.floating]
    variables: tuple[str, ...]
    units: tuple[str, ...]
    mesh: Mesh
    time_step: TimeStep
    times: NDArray[np.int64]
    ensemble_axis: Literal["trajectory", "member"] = "trajectory"
    missing: frozenset[int] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict)
    source: str = "arrays in memory"
    trajectories: Sequence[int] | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (len(self.times), self.ensemble_size, self.mesh.num_nodes, len(self.variables))
        if self.values.shape != expected:
            raise MeshcastError(
                f"Fields must have shape [time, ensemble, node, variable] = {list(expected)}, but have shape "
                f"{list(self.values.shape)}."
            )
        assert len(self.units) == len(self.variables)
        if self.trajectories is None or len(self.trajectories) != self.ensemble_size:
            object.__setattr__(self, "trajectories", range(self.ensemble_size))

    @property
    def ensemble_size(self) -> int:
        return self.values.shape[1]

    def read(
        self,
        times: slice | NDArray[np.int64],
        variables: Sequence[str],
        ensemble: slice | Sequence[int] | int = slice(None),
    ) -> NDArray[np.float32]:
        """[time, ensemble, node, variable]."""
        columns = columns_of(self, variables)
        refuse_missing(self, times)
        index, rows = np.arange(len(self.times))[times], np.atleast_1d(np.arange(self.ensemble_size)[ensemble])
        values = self.values[np.ix_(index, rows)]  # a copy: what a reader does to it stays with the reader
        if columns != list(range(len(self.variables))):
            values = values[..., columns]
        return np.ascontiguousarray(values, dtype=np.float32)


def open_arrays(path: Path | str) -> ArrayFields:
    """Plain arrays [trajectory, frame, channel, node] on a periodic ring, memory-mapped.

    Variables are `u`, or `u0`, `u1` ... of several channels; one frame is stored as one nominal second.
    """
    path = Path(path)
    if not path.exists():
        raise MeshcastError(f"There is no file {path}. Give an array [trajectory, frame, channel, node] in .npy form.")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise MeshcastError(f"{path} is not a .npy array of numbers: {error}") from None
    if values.ndim != 4 or values.dtype.kind != "f":
        raise MeshcastError(
            f"{path} must hold floating-point numbers [trajectory, frame, channel, node], but holds {values.dtype} of "
            f"shape {list(values.shape)}."
        )
    frames, channels = values.shape[1:3]
    return ArrayFields(
        values=values.transpose(1, 0, 3, 2),
        variables=("u",) if channels == 1 else tuple(f"u{channel}" for channel in range(channels)),
        units=("1",) * channels,
        mesh=ring(values.shape[3]),
        time_step=TimeStep(1, "second", 1.0, "frame"),
        times=np.arange(frames, dtype=np.int64),
        source=str(path),
    )


def in_memory(fields: Fields, limit: float = 1e9) -> Fields:
    """The same fields read once into memory, where they take less than `limit` bytes; else the fields themselves."""
    shape = (len(fields.times), fields.ensemble_size, fields.mesh.num_nodes, len(fields.variables))
    if 4.0 * np.prod(shape) > limit:
        return fields
    values = np.full(shape, np.nan, dtype=np.float32)
    there = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    for block in np.array_split(there, max(1, len(there) // 64)):
        values[block] = fields.read(block, fields.variables)
    return ArrayFields(
        values=values,
        variables=fields.variables,
        units=fields.units,
        mesh=fields.mesh,
        time_step=fields.time_step,
        times=fields.times,
        ensemble_axis=fields.ensemble_axis,
        missing=fields.missing,
        attributes=fields.attributes,
        source=fields.source,
        trajectories=getattr(fields, "trajectories", None),
        notices=getattr(fields, "notices", ()),
    )


def columns_of(fields: Fields, variables: Sequence[str]) -> list[int]:
    """The columns of named variables.

    Raises MeshcastError naming every variable that is not there.
    """
    absent = [name for name in variables if name not in fields.variables]
    if absent:
        raise MeshcastError(
            f"{fields.source} has no variable {', '.join(absent)}; it has {', '.join(fields.variables)}."
        )
    return [fields.variables.index(name) for name in variables]


def refuse_missing(fields: Fields, times: slice | NDArray[np.int64]) -> None:
    """Raise MeshcastError where one of the asked times cannot be read."""
    if not fields.missing:
        return
    asked = range(len(fields.times))[times] if isinstance(times, slice) else np.asarray(times).tolist()
    if gaps := sorted(fields.missing.intersection(asked)):
        moments = ", ".join(str(moment) for moment in to_datetime(fields.times[gaps[:3]]))
        raise MeshcastError(f"{fields.source} has no fields at {moments}: dates declared missing. Choose other times.")
