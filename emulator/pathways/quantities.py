"""What a column of a pathway's file holds: emissions of a species, a concentration, or the forcing of an agent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from emulator.foundation.configuration_faults import nearest
from emulator.pathways.pathway import AGENTS, TOTAL
from emulator.pathways.shipped import emission_units
from graphs.errors import MeshcastError

Kind = Literal["emissions", "concentration", "forcing"]

CONCENTRATIONS = {"co2": "ppm", "ch4": "ppb", "n2o": "ppb"}
SHARES = {"ppm": 1e-6, "ppb": 1e-9, "ppt": 1e-12}
GRAMS = {"g": 1.0, "kg": 1e3, "Mg": 1e6, "Gg": 1e9, "Tg": 1e12, "Pg": 1e15, "t": 1e6, "kt": 1e9, "Mt": 1e12, "Gt": 1e15}
# grams a mole, of one atom of what a mass may be counted in
MOLAR = {
    "CO2": {"CO2": 44.009, "C": 12.011},
    "CH4": {"CH4": 16.043, "C": 12.011},
    "N2O": {"N2O": 44.013, "N": 28.014},
    "SO2": {"SO2": 64.064, "S": 32.06},
    "NO2": {"NO2": 46.006, "N": 14.007, "NO": 30.006},
    "NH3": {"NH3": 17.031, "N": 14.007},
}
ALIASES = {
    "carbon dioxide": "CO2", "methane": "CH4", "nitrous oxide": "N2O", "so2": "Sulfur", "sulphur": "Sulfur",
    "magicc fossil and industrial": "CO2 FFI", "energy and industrial processes": "CO2 FFI",
    "magicc afolu": "CO2 AFOLU", "afolu": "CO2 AFOLU",
    "black carbon": "BC", "organic carbon": "OC", "co2 fossil": "CO2 FFI", "co2 land": "CO2 AFOLU", "nmvoc": "VOC",
    "volcanoes": "volcanic", "sun": "solar", "total": TOTAL, "erf": TOTAL,
}  # fmt: skip
FORCING_UNITS = ("W m-2", "W/m2", "W/m^2", "W m**-2", "W/m**2", "W m^-2")


@dataclass(frozen=True)
class Quantity:
    """A quantity of a pathway, and the factor that turns what came into the unit it is kept in.

    name: a species of `emission_units` or CO2 as a whole, a gas of CONCENTRATIONS, an agent, or the total forcing.
    """

    kind: Kind
    name: str
    unit: str
    factor: float


def quantity(name: str, unit: str, where: str) -> Quantity:
    """Return what a column named and measured so holds.

    Raises MeshcastError for a unit or a name that is not known, with the nearest that is.
    """
    unit = " ".join(unit.split())
    word = ALIASES.get(name.strip().lower(), name.strip())
    if unit in FORCING_UNITS:
        agent = word.lower().replace("-", "_").replace(" ", "_")
        if agent not in (*AGENTS, TOTAL):
            known = (*AGENTS, TOTAL)
            raise MeshcastError(
                f"{where}: {name} is no agent of forcing; known are {', '.join(known)}{nearest(agent, known)}"
            )
        return Quantity("forcing", agent, "W m-2", 1.0)
    if unit in SHARES:
        gas = word.lower()
        if gas not in CONCENTRATIONS:
            raise MeshcastError(
                f"{where}: concentrations are read of {', '.join(CONCENTRATIONS)}, but {name} is given in {unit}. "
                "Give its emissions or its forcing."
            )
        return Quantity("concentration", gas, CONCENTRATIONS[gas], SHARES[unit] / SHARES[CONCENTRATIONS[gas]])
    units = emission_units() | {"CO2": "Gt CO2/yr"}
    species = {known.lower(): known for known in units}.get(word.lower())
    mass = _mass(unit)
    if mass is None:
        raise MeshcastError(
            f"{where}: {name} is in {unit or 'no unit'}, expected W m-2 for a forcing, ppm, ppb or ppt for a "
            "concentration, or a mass a year such as Gt CO2/yr for emissions."
        )
    if species is None:
        raise MeshcastError(f"{where}: {name} is no species that is known{nearest(word, units)}")
    grams, counted = mass
    kept, kept_as = _mass(units[species]) or (1.0, "")
    return Quantity("emissions", species, units[species], grams / kept * _by_mole(counted, kept_as, f"{where}: {name}"))


def _mass(unit: str) -> tuple[float, str] | None:
    """Return the grams of a unit of mass a year and what they are counted in, None for another unit."""
    found = re.fullmatch(r"([kMGTP]?[gt])\s*([A-Za-z0-9-]*)\s*(?:/\s*(?:yr|a|year)|(?:yr|a|year)\s*\^?-1)", unit)
    return (GRAMS[found[1]], found[2]) if found and found[1] in GRAMS else None


def _by_mole(counted: str, kept: str, where: str) -> float:
    """Return what turns a mass of one substance into that of another with as many moles."""
    if counted in ("", kept):
        if not counted and kept in MOLAR:
            raise MeshcastError(
                f"{where} does not say of what its mass is. Write it as in {kept}, or {' or '.join(MOLAR[kept])}."
            )
        return 1.0
    masses = MOLAR.get(kept, {})
    if counted not in masses:
        raise MeshcastError(f"{where} is counted in {counted}, expected {' or '.join(masses or [kept])}.")
    return masses[kept] / masses[counted]
