"""Where the forcings of a task come from: tables, a dataset, or the time and the place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from emulator.data.formats import named_format
from emulator.fields import Fields
from emulator.forcing_memory import ForcingMemory
from emulator.forcings import ComputedForcings, Forcings, ForcingSource, GivenForcings, TabulatedForcings
from emulator.foundation.time_step import to_datetime
from emulator.global_scalars import GlobalScalars
from emulator.pathways.named import read_pathway
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, Mask
from graphs.mesh import Mesh

PATHWAY = "pathway:"  # before what `read_pathway` reads
ALIKE = 0.02  # what formulas of the sun's place differ by


def forcings_of(
    task: Task,
    mesh: Mesh,
    fields: Fields | None = None,
    tables: Sequence[str | Path] = (),
    scalars: GlobalScalars | None = None,
) -> Forcings:
    """Return the forcings of a task: tables first, then scalars and fields of a dataset, then what can be computed.

    fields: a dataset that may hold some of the task's forcings, on the same mesh; its first member serves all. What it
        holds of computed ones is computed all the same where the two agree, since that goes on after the last date.
    tables: files of a format that holds tables; CSV, see `TabulatedForcings.read`, where the ending says nothing; or
        `pathway:NAME`.
    scalars: of trajectories; those of the fields by default.
    """
    sources: list[ForcingSource | GlobalScalars | ForcingMemory] = []
    sources += [read_table(path) for path in tables]
    scalars = fields.scalars if scalars is None and fields is not None else scalars
    if scalars is not None:
        sources.append(scalars)
    if fields is not None:
        stored = tuple(name for name in task.forcing if name in fields.variables and not _computed(name, fields, mesh))
        if stored:
            _refuse_own_forcings(fields, stored)
            sources.append(GivenForcings(stored, fields.times, _reader(fields, stored), fields.source))
    return Forcings(*sources, *_memories(task, sources), ComputedForcings(mesh, task.forcing))


def _memories(task: Task, sources: Sequence[object]) -> list[ForcingMemory]:
    """Return what a task remembers, each of the first source that has it.

    Raises MeshcastError where none has: a memory is of global scalars, which have a past.
    """
    found: list[ForcingMemory] = []
    for variable in task.with_role("forcing"):
        if variable.memory is None:
            continue
        of, years = variable.memory
        for source in sources:
            if isinstance(source, TabulatedForcings | GlobalScalars) and of in source.names:
                series = source if isinstance(source, GlobalScalars) else source.scalars
                found.append(ForcingMemory(variable.name, of, years, series, source is series))
                break
        else:
            raise MeshcastError(
                f"{variable.name} remembers {of} over {years:g} years, but neither a table nor the global scalars of "
                f"the data hold {of}. Give it with --forcing TABLE.csv, from its beginning."
            )
    return found


def _refuse_own_forcings(fields: Fields, names: Sequence[str]) -> None:
    """Raise MeshcastError where rows of the ensemble axis have forcings of their own, judged by some of the times."""
    readable = _readable(fields)
    if fields.ensemble_size == 1:
        return
    for index in np.unique(readable[np.linspace(0, len(readable) - 1, 5).astype(int)]):
        values = fields.read(np.array([index]), names)[0]  # [row, node, name]
        other = ~np.isclose(values, values[:1], rtol=1e-5, equal_nan=True).all(axis=1)  # [row, name]
        if other.any():
            row, column = np.argwhere(other)[0]
            raise MeshcastError(
                f"The forcing {names[column]} of row {row} of {fields.source} differs from that of row 0 at "
                f"{to_datetime(fields.times[index])}, but one forcing serves all members or trajectories. Make a "
                "dataset of each scenario, and train or forecast from one at a time, or store them as global scalars."
            )


def table_reader(path: str | Path) -> Callable[[Path], TabulatedForcings] | None:
    """Return the function that reads a table of forcings, None where a name does not end as one.

    `pathway:NAME` is what `read_pathway` reads: its forcing by agent, and their total.
    """
    if str(path).startswith(PATHWAY):
        return lambda table: read_pathway(str(path).removeprefix(PATHWAY)).table()
    named = named_format(path)
    return named.read_table if named else None


def read_table(path: str | Path) -> TabulatedForcings:
    """Return a table of forcings; CSV where a name does not say what it is."""
    return (table_reader(path) or TabulatedForcings.read)(Path(path))


def _reader(fields: Fields, names: tuple[str, ...]) -> Callable[[Index], Array]:
    """Return a function from indices of times to forcings [time, node, name], NaN only where the first time has it."""

    @cache
    def masked() -> Mask:
        return np.isnan(fields.read(_readable(fields)[:1], names, 0)[:, 0])

    def read(index: Index) -> Array:
        values = fields.read(index, names, 0)[:, 0].astype(np.float64)
        holes = np.isnan(values)
        if holes.any() and (holes & ~masked()).any():
            time, node, column = np.argwhere(holes & ~masked())[0]
            raise MeshcastError(
                f"{fields.source} has no value of the forcing {names[column]} at node {node} at "
                f"{to_datetime(fields.times[index[time]])}, where its first time has one. Fill the gap first."
            )
        return values

    return read


def _computed(name: str, fields: Fields, mesh: Mesh) -> bool:
    """Return whether the dataset holds what we compute under this name, judged by its first times."""
    source, index = ComputedForcings(mesh, [name]), _readable(fields)[:4]
    if not source.names:
        return False
    values = fields.read(index, [name], 0)[:, 0, :, 0]
    return bool(np.allclose(values, source.at(fields.times[index])[..., 0], rtol=0.0, atol=ALIKE))


def _readable(fields: Fields) -> Index:
    return np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
