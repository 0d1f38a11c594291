"""Fields in arrays: in memory, or in the plain `*_train.npy`, `*_test.npy` files of benchmark protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from emulator.global_scalars import GlobalScalars
from graphs.available_memory import SHARE_KEPT, available_memory
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.ring import ring

ALWAYS_KEPT = 1e9  # bytes of fields
READ_WHOLE = 2**26  # bytes of fields that are read whole when they are opened


@dataclass(eq=False)
class ArrayFields(Fields):
    """Fields in one array: values [time, ensemble, node, variable]; the rest as in `Fields`."""

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
    trajectories: Sequence[int] = ()
    notices: tuple[str, ...] = ()
    scalars: GlobalScalars | None = None

    def __post_init__(self) -> None:
        self.ensemble_size = self.values.shape[1]
        expected = (len(self.times), self.ensemble_size, self.mesh.num_nodes, len(self.variables))
        if self.values.shape != expected:
            raise MeshcastError(
                f"Fields must have shape [time, ensemble, node, variable] = {list(expected)}, but have shape "
                f"{list(self.values.shape)}."
            )
        assert len(self.units) == len(self.variables)
        if len(self.trajectories) != self.ensemble_size:
            self.trajectories = range(self.ensemble_size)

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        values = self.values[np.ix_(times, rows)]
        return values if columns == list(range(len(self.variables))) else values[..., columns]


def open_arrays(path: Path | str) -> ArrayFields:
    """Return plain arrays [trajectory, frame, channel, node] on a ring, memory-mapped; a frame is a nominal second."""
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


class KeptFields(Fields):
    """Other fields, of which a variable is read into memory whole when it is first asked for, and never again.

    Those nobody asks for take neither time nor memory. A variable is not kept where all that are would take a gigabyte
    and half of what memory was left when the fields were opened.
    """

    def __init__(self, stored: Fields) -> None:
        self._stored = stored
        for item in dataclass_fields(ArrayFields):
            if item.name != "values":
                setattr(self, item.name, getattr(stored, item.name))
        self.ensemble_size = stored.ensemble_size
        self._left = _most_kept()
        self._blocks: list[NDArray[np.float32]] = []  # [time, ensemble, node, variable]
        self._places: dict[int, tuple[int, int]] = {}  # by variable: its block, and where in it

    @property
    def unkept(self) -> Fields:
        return self._stored.unkept

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        self._keep([column for column in dict.fromkeys(columns) if column not in self._places])
        if any(column not in self._places for column in columns):
            return self._stored.read(times, [self.variables[column] for column in columns], rows.tolist())
        places = [self._places[column] for column in columns]
        if len({block for block, _ in places}) > 1:
            return np.stack([self._blocks[block][np.ix_(times, rows)][..., place] for block, place in places], axis=-1)
        values, inside = self._blocks[places[0][0]][np.ix_(times, rows)], [place for _, place in places]
        return values if inside == list(range(values.shape[-1])) else values[..., inside]

    def _keep(self, columns: list[int]) -> None:
        """Read variables that are not in memory yet, where there is room for them."""
        shape = (len(self.times), self.ensemble_size, self.mesh.num_nodes, len(columns))
        if not columns or (size := 4.0 * np.prod(shape)) > self._left:
            return
        values = _read_whole(self._stored, [self.variables[column] for column in columns])
        self._places |= {column: (len(self._blocks), place) for place, column in enumerate(columns)}
        self._blocks.append(values)
        self._left -= size


def in_memory(fields: Fields) -> Fields:
    """Return the fields read once into memory, each variable when it is first asked for, as long as all that are take
    less than a gigabyte or than half of what is left of it; small ones are read whole at once."""
    size = 4.0 * len(fields.times) * fields.ensemble_size * fields.mesh.num_nodes * len(fields.variables)
    if size > min(READ_WHOLE, _most_kept()):
        return KeptFields(fields)
    same = {item.name: getattr(fields, item.name) for item in dataclass_fields(ArrayFields) if item.name != "values"}
    return ArrayFields(_read_whole(fields, fields.variables), **same)


def _read_whole(fields: Fields, names: Sequence[str]) -> NDArray[np.float32]:
    """Return values [time, ensemble, node, variable] of some variables at all times, NaN at those that are missing."""
    shape = (len(fields.times), fields.ensemble_size, fields.mesh.num_nodes, len(names))
    values = np.full(shape, np.nan, dtype=np.float32)
    there = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    for block in np.array_split(there, max(1, len(there) // 64)):
        values[block] = fields.read(block, names)
    return values


def _most_kept() -> float:
    """Return how many bytes of fields are kept in memory."""
    return max(ALWAYS_KEPT, SHARE_KEPT * (available_memory() or 0))
