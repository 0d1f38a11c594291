"""The pathways that ship: their files, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator.pathways.pathway import AGENTS, Pathway
from graphs.geometry import Array, Index

if TYPE_CHECKING:
    import pandas as pd

FILES = Path(__file__).parent / "files"
SSP_SOURCE = (
    "AR6 WG1 chapter 7 (Forster et al. 2021, doi:10.1017/9781009157896.009), data of github.com/chrisroadmap/ar6, MIT"
)
FAIR_SOURCE = "FaIR calibration 1.4.1 (Smith et al. 2024, doi:10.5194/gmd-17-8569-2024), Apache-2.0"


CONCENTRATIONS = {  # of CO2, CH4 and N2O, by year
    "a1b": "SRES A1B, concentrations of the IPCC's Third Assessment Report, annex II (2001)",
    "rcp26": "RCP2.6, concentrations of Meinshausen et al. 2011 (doi:10.1007/s10584-011-0156-z)",
}


@cache
def _table(name: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(FILES / f"{name}.csv.gz")


@cache
def forcing_names() -> tuple[str, ...]:
    """Return the pathways whose forcing ships: shared socioeconomic pathways."""
    return tuple(dict.fromkeys(_table("ssp_forcing")["pathway"]))


@cache
def emission_names() -> tuple[str, ...]:
    """Return the pathways whose emissions ship."""
    return tuple(dict.fromkeys(_table("fair_emissions")["scenario"]))


def forcing_of(name: str) -> Pathway:
    """Return a pathway whose forcing ships, 1750 to 2500."""
    table = _table("ssp_forcing")
    table = table[table["pathway"] == name]
    return Pathway(name, table["year"].to_numpy(np.int64), table[list(AGENTS)].to_numpy(np.float64)[None], SSP_SOURCE)


def emissions_of(name: str) -> tuple[Index, dict[str, Array], dict[str, str]]:
    """Return years, emissions [year] by species, and their units, of a pathway whose emissions ship, 1750 to 2500."""
    table = _table("fair_emissions")
    table = table[table["scenario"] == name]
    columns = [column for column in table if column.isdigit()]
    years = np.array([int(column) for column in columns], np.int64)
    values = table[columns].to_numpy(np.float64)
    return years, dict(zip(table["species"], values, strict=True)), emission_units()


@cache
def emission_units() -> dict[str, str]:
    """Return the unit of each species' emissions, such as `Gt CO2/yr`."""
    table = _table("fair_emissions").drop_duplicates("species")
    return dict(zip(table["species"], table["unit"], strict=True))


def parameter_sets() -> pd.DataFrame:
    """Return FaIR's calibrated, constrained ensemble: 841 sets of parameters, one a row."""
    return _table("fair_parameters").set_index("set")


def species_properties() -> pd.DataFrame:
    """Return what FaIR needs to know of each species, one a row."""
    return _table("fair_species").set_index("name")


def natural_forcing(years: Index) -> dict[str, Array]:
    """Return the forcing of volcanoes and of the sun [year] [W m-2], as FaIR was calibrated with it; 0 after 2300."""
    table = _table("fair_natural_forcing").set_index("agent")
    known = np.array([int(column) for column in table], np.int64)
    return {agent: np.interp(years, known, table.loc[agent].to_numpy(np.float64)) for agent in table.index}
