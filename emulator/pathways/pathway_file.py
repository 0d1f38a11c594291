"""Pathways that a user gives as a table by year: emissions, concentrations or forcing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator.pathways.fair_model import SETS, run_fair
from emulator.pathways.pathway import AGENTS, PRESENT, TOTAL, Pathway
from emulator.pathways.quantities import Kind, Quantity, quantity
from emulator.pathways.radiative_forcing import PREINDUSTRIAL, of_gases
from emulator.pathways.shipped import emissions_of, forcing_of
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index

if TYPE_CHECKING:
    import pandas as pd

BASES = {"forcing": "ssp245", "concentration": "ssp245", "emissions": "medium-extension"}
EARLIEST, LATEST = 1750, 2500
JUMP = 5.0  # times the root mean square change from year to year
FORM = "a column `year` and one column a quantity, with its unit in brackets: `year,co2 [ppm],ch4 [ppb]`"


@dataclass(frozen=True, eq=False)
class PathwayTable:
    """Columns [year] of one kind, in the unit that they are kept in."""

    path: Path
    kind: Kind
    years: Index
    columns: dict[str, Array]
    notes: tuple[str, ...]

    def until(self, last: int) -> tuple[Index, dict[str, Array]]:
        """Return the years up to `last`, as rows since 1750, and the columns in them."""
        given = self.years <= last
        return self.years[given] - EARLIEST, {name: values[given] for name, values in self.columns.items()}


def read_pathway_file(path: str | Path, last: int | None = None, base: str | None = None, sets: int = SETS) -> Pathway:
    """Return the pathway of a CSV file, from 1750 to the year `last`, by default its own last.

    What the file does not give, years before its first and quantities that it lacks, is as in the pathway `base`; its
    notes say so. Emissions go through FaIR.

    Raises MeshcastError for a table with a gap, a year twice, a negative concentration, units that are unknown or of
    several kinds, and one that ends before the year `last`.
    """
    table = read_table(Path(path))
    last = int(table.years[-1]) if last is None else last
    if last > table.years[-1]:
        raise MeshcastError(f"The pathway {path} ends in {table.years[-1]}, but {last} is needed. Give it up to there.")
    base = base or BASES[table.kind]
    if table.kind == "emissions":
        return _by_emissions(table, last, base, sets)
    return _by_forcing(table, last, base)


def _by_forcing(table: PathwayTable, last: int, base: str) -> Pathway:
    follow = forcing_of(base).between(EARLIEST, last)
    forcing, notes = follow.forcing[0].copy(), [*table.notes]
    rows, columns = table.until(last)
    if table.kind == "concentration":
        columns = _forced(columns)
    if TOTAL in columns:
        if len(columns) > 1:
            raise MeshcastError(
                f"{table.path} gives the total forcing and that of {', '.join(set(columns) - {TOTAL})}. "
                "Give either the total or agents, whose sum it is."
            )
        forcing[rows, AGENTS.index("co2")] += columns[TOTAL] - forcing[rows].sum(axis=1)
        notes.append(f"only the total is given: agents are as in {base}, and CO2 stands for the difference")
    else:
        for name, values in columns.items():
            forcing[rows, AGENTS.index(name)] = values
        if others := [agent for agent in AGENTS if agent not in columns]:
            notes.append(f"{', '.join(others)} as in {base}")
    if table.years[0] > EARLIEST:
        notes.append(f"{EARLIEST} to {table.years[0] - 1} as in {base}")
        notes += _joint(forcing.sum(axis=1), int(rows[0]))
    return Pathway(table.path.stem, follow.years, forcing[None], f"{table.path}; {follow.source}", tuple(notes))


def read_table(path: Path) -> PathwayTable:
    """Read a table by year, or one of the IAMC's form with a column a year."""
    import pandas as pd

    try:
        table = pd.read_csv(path, comment="#", encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise MeshcastError(f"Cannot read the pathway {path}: {error}") from None
    table.columns = [str(name).strip() for name in table.columns]
    lower = {name.lower(): name for name in table.columns}
    wide = {"variable", "unit"} <= set(lower)
    if not wide and "year" not in lower:
        raise MeshcastError(
            f"{path} has the columns {', '.join(table.columns[:8])}, expected {FORM}, or the IAMC's "
            "`variable,unit,2015,2016,...`."
        )
    years, texts = _by_variable(table, lower, path) if wide else _by_year(table, lower, path)
    _check_years(years, path)
    found: dict[str, tuple[Quantity, Array]] = {}
    for (name, unit), values in texts.items():
        held = quantity(name, unit, str(path))
        if held.name in found:
            raise MeshcastError(f"{path} gives {held.name} twice.")
        found[held.name] = held, held.factor * _numbers(values, years, name, path)
    if not found:
        raise MeshcastError(f"{path} gives years only; expected {FORM}.")
    kinds = {held.kind: name for name, (held, _) in found.items()}
    if len(kinds) > 1:
        what = ", ".join(f"{kind} ({name})" for kind, name in kinds.items())
        raise MeshcastError(f"{path} mixes {what}. Give one kind a file.")
    kind = next(iter(kinds))
    notes: list[str] = []
    for name, (_, values) in found.items():
        if kind == "concentration" and (values <= 0).any():
            year = years[np.argmax(values <= 0)]
            raise MeshcastError(
                f"{path}: the concentration of {name} is {values.min():g} in {year}, but must be positive."
            )
        if kind == "emissions" and not name.startswith("CO2") and (values < 0).any():
            raise MeshcastError(
                f"{path}: emissions of {name} are {values.min():g} in {years[np.argmin(values)]}; "
                "only CO2 can be removed."
            )
        notes += _jumps(name, years, values)
    return PathwayTable(path, kind, years, {name: values for name, (_, values) in found.items()}, tuple(notes))


def _by_year(table: pd.DataFrame, lower: dict[str, str], path: Path) -> tuple[Index, dict[tuple[str, str], Array]]:
    columns: dict[tuple[str, str], Array] = {}
    for name in table.columns:
        if name == lower["year"]:
            continue
        split = re.fullmatch(r"(.*?)\s*[\[(](.*)[\])]", name)
        if split is None:
            raise MeshcastError(f"{path}: the column {name} has no unit. Write it in brackets, as in `co2 [ppm]`.")
        if (split[1], split[2]) in columns:
            raise MeshcastError(f"{path} gives {name} twice.")
        columns[split[1], split[2]] = table[name].to_numpy()
    return _whole_years(table[lower["year"]].to_numpy(), path), columns


def _by_variable(table: pd.DataFrame, lower: dict[str, str], path: Path) -> tuple[Index, dict[tuple[str, str], Array]]:
    for key in ("scenario", "region", "model"):
        if key in lower and table[lower[key]].nunique() > 1:
            named = ", ".join(map(str, table[lower[key]].unique()[:5]))
            raise MeshcastError(f"{path} holds several of {key}: {named}. Keep the rows of one.")
    years = [name for name in table.columns if re.fullmatch(r"\d{4}(\.5|\.0)?", name)]
    columns: dict[tuple[str, str], Array] = {}
    for _, row in table.iterrows():
        name = str(row[lower["variable"]]).split("|")[-1]
        named_so = name, str(row[lower["unit"]])
        if named_so in columns:
            raise MeshcastError(f"{path} gives {name} twice.")
        columns[named_so] = row[years].to_numpy()
    return _whole_years(np.array([float(name) // 1 for name in years]), path), columns


def _whole_years(values: Array, path: Path) -> Index:
    try:
        years = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise MeshcastError(f"{path}: the column year holds {values[0]!r}, expected years such as 2015.") from None
    if len(years) < 2 or not np.isfinite(years).all() or (years % 1 != 0).any():
        raise MeshcastError(f"{path} must give whole years such as 2015, two at least.")
    return years.astype(np.int64)


def _check_years(years: Index, path: Path) -> None:
    values, counts = np.unique(years, return_counts=True)
    if (counts > 1).any():
        raise MeshcastError(f"{path} gives the year {values[counts > 1][0]} twice.")
    if (np.diff(years) < 0).any():
        raise MeshcastError(f"The years of {path} must increase.")
    if years[0] < EARLIEST or years[-1] > LATEST:
        raise MeshcastError(
            f"{path} reaches from {years[0]} to {years[-1]}, but pathways lie between {EARLIEST} and {LATEST}."
        )
    steps = np.diff(years)
    if (steps > 1).any():
        where = int(np.argmax(steps > 1))
        raise MeshcastError(
            f"{path} has a gap: {years[where]} is followed by {years[where + 1]}. Give every year; between values that "
            "are known, a straight line is a usual choice."
        )


def _numbers(values: Array, years: Index, name: str, path: Path) -> Array:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise MeshcastError(f"{path}: the column {name} holds text where numbers are expected.") from None
    if not np.isfinite(numbers).all():
        raise MeshcastError(f"{path} has no {name} in {years[~np.isfinite(numbers)][0]}. Fill the gap first.")
    return numbers


def _jumps(name: str, years: Index, values: Array) -> list[str]:
    change = np.diff(values)
    usual = float(np.sqrt(np.mean(np.delete(change, np.argmax(np.abs(change))) ** 2))) if len(change) > 3 else np.inf
    where = int(np.argmax(np.abs(change)))
    if abs(change[where]) <= JUMP * max(usual, 1e-3 * float(np.abs(values).max())):
        return []
    return [f"{name} jumps from {values[where]:.4g} in {years[where]} to {values[where + 1]:.4g} in {years[where + 1]}"]


def _joint(total: Array, row: int) -> list[str]:
    """Return a note where what is given does not join what comes before it."""
    usual = float(np.sqrt(np.mean(np.diff(total[row:]) ** 2))) if row + 3 < len(total) else 0.0
    jump = float(total[row] - total[row - 1])
    if abs(jump) <= max(JUMP * usual, 0.3):
        return []
    return [f"the forcing jumps by {jump:+.2f} W m-2 in {EARLIEST + row}, where the table begins"]


def _forced(given: Mapping[str, Array]) -> dict[str, Array]:
    """Return the forcing of each gas given; one that is not given overlaps as in 1750."""
    length = len(next(iter(given.values())))
    gases = {name: given.get(name, np.full(length, value)) for name, value in PREINDUSTRIAL.items()}
    forcing = of_gases(**gases)
    return {name: forcing[name] for name in given}


def _by_emissions(table: PathwayTable, last: int, base: str, sets: int) -> Pathway:
    years, emissions, _ = emissions_of(base)
    kept = years <= last
    years, emissions = years[kept], {species: values[kept].copy() for species, values in emissions.items()}
    notes = [*table.notes]
    rows, columns = table.until(last)
    if "CO2" in columns:
        if {"CO2 FFI", "CO2 AFOLU"} & set(columns):
            raise MeshcastError(f"{table.path} gives CO2 and a part of it. Give either CO2 or CO2 FFI and CO2 AFOLU.")
        columns["CO2 FFI"] = columns.pop("CO2") - emissions["CO2 AFOLU"][rows]
        notes.append(f"of CO2 the part from land use is as in {base}")
    before = {species: values.copy() for species, values in emissions.items()}
    for species, values in columns.items():
        emissions[species][rows] = values
        if rows[0] > 0:
            step, scale = values[0] - before[species][rows[0] - 1], np.abs(before[species]).max()
            if abs(step) > 0.1 * scale:
                notes.append(
                    f"emissions of {species} jump by {step / scale:+.0%} of their highest where the table begins"
                )
    others = len(emissions) - len(columns)
    notes.append(f"{others} other species as in {base}")
    if table.years[0] > EARLIEST:
        notes.append(f"{EARLIEST} to {table.years[0] - 1} as in {base}")
    if table.years[0] > PRESENT:
        notes.append(f"{PRESENT} to {table.years[0] - 1} is a scenario, too")
    run = run_fair(table.path.stem, years, emissions, sets, tuple(notes))
    return Pathway(
        run.pathway.name, years, run.pathway.forcing, f"{table.path}; {run.pathway.source}", run.pathway.notes
    )
