"""Fields in time: what training, forecasts and verification read, wherever it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.global_scalars import GlobalScalars
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

# What a view of other fields, on other nodes or of some rows, takes over as it is.
DESCRIPTION = ("variables", "units", "attributes", "time_step", "times", "missing", "source", "notices", "scalars")
READ_AT_ONCE = 16  # times, where some nodes of them are wanted


class Fields:
    """A series of fields on one mesh; each way to store them is a subclass with `_read`.

    variables: names, in the order of `units`.
    units: one a variable.
    mesh: where the values live.
    time_step: between consecutive times; calendar steps and nominal seconds included.
    times: [time] int64 seconds since 1970 UTC, increasing.
    missing: indices of times that cannot be read.
    ensemble_axis: whether the ensemble axis holds independent trajectories of a solver or members of one ensemble.
    trajectories: [ensemble] the number of each row, as the file counts it or where the fields were cut out of more.
    attributes: licence, attribution, title, calendar and what else travels with the data.
    source: what was opened, for messages and fingerprints.
    notices: a line for each thing that was converted, moved or assumed when the fields were opened.
    scalars: numbers of the whole globe by time that force the trajectories, where there are any.
    """

    variables: tuple[str, ...]
    units: tuple[str, ...]
    mesh: Mesh
    time_step: TimeStep
    times: NDArray[np.int64]
    missing: frozenset[int]
    ensemble_axis: Literal["trajectory", "member"]
    ensemble_size: int
    trajectories: Sequence[int]
    attributes: Mapping[str, str]
    source: str
    notices: tuple[str, ...] = ()
    scalars: GlobalScalars | None = None

    def read(
        self,
        times: slice | NDArray[np.int64],
        variables: Sequence[str],
        ensemble: slice | Sequence[int] | int = slice(None),
    ) -> NDArray[np.float32]:
        """Return values [time, ensemble, node, variable] in physical units.

        ensemble: rows; an int keeps its axis, with length one.
        Raises MeshcastError where a time is missing or a variable is not there.
        """
        if absent := [name for name in variables if name not in self.variables]:
            raise MeshcastError(
                f"{self.source} has no variable {', '.join(absent)}; it has {', '.join(self.variables)}."
            )
        index = np.arange(len(self.times))[times]
        if gaps := sorted(self.missing.intersection(index.tolist())):
            moments = ", ".join(str(moment) for moment in to_datetime(self.times[gaps[:3]]))
            raise MeshcastError(
                f"{self.source} has no fields at {moments}: dates declared missing. Choose other times."
            )
        rows = np.atleast_1d(np.arange(self.ensemble_size)[ensemble])
        columns = [self.variables.index(name) for name in variables]
        return np.ascontiguousarray(self._read(index, rows, columns), dtype=np.float32)

    @property
    def unkept(self) -> Fields:
        """Return the fields as they are stored, for who looks at some times of every variable and keeps none."""
        return self

    def rows_of(self, trajectory: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows [case] of trajectories named by number: -1 for -1, one past the last where there is none."""
        rows = {number: row for row, number in enumerate(self.trajectories)} | {-1: -1}
        return np.array([rows.get(number, self.ensemble_size) for number in trajectory.tolist()], dtype=np.int64)

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        """Return values [time, ensemble, node, variable], a copy, at indices of each axis."""
        raise NotImplementedError

    def read_nodes(
        self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int], nodes: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Return what `_read` does of some nodes alone, never more than a few times of all nodes in memory."""
        pieces = np.array_split(times, max(1, -(-len(times) // READ_AT_ONCE)))
        return np.concatenate([self._read(piece, rows, columns)[:, :, nodes] for piece in pieces])


class NodeFields(Fields):
    """Some nodes of other fields, in an order of their own, as those of a shard: no others are kept.

    nodes: [node] of the whole.
    """

    def __init__(self, whole: Fields, nodes: NDArray[np.int64]) -> None:
        self.whole, self.nodes = whole, nodes
        for name in (*DESCRIPTION, "ensemble_axis", "ensemble_size", "trajectories"):
            setattr(self, name, getattr(whole, name))
        self.mesh = whole.mesh.at_nodes(nodes)

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        return self.whole.read_nodes(times, rows, columns, self.nodes)
