"""From emissions to forcing and global warming by FaIR; the one door to the package `fair`, an optional extra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator.pathways.pathway import AGENTS, Pathway
from emulator.pathways.shipped import FAIR_SOURCE, natural_forcing, parameter_sets, species_properties
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index

AGENT_OF = {
    "CO2": "co2",
    "CH4": "ch4",
    "N2O": "n2o",
    "Ozone": "o3",
    "Stratospheric water vapour": "h2o_stratospheric",
    "Aerosol-radiation interactions": "aerosol_radiation_interactions",
    "Aerosol-cloud interactions": "aerosol_cloud_interactions",
    "Light absorbing particles on snow and ice": "bc_on_snow",
    "Land use": "land_use",
    "Volcanic": "volcanic",
    "Solar": "solar",
}
NATURAL = ("Volcanic", "Solar")
SETS = 101  # of 841, evenly over them: the mean forcing of 2050 and 2100 is within .03 W m-2 of that of all


@dataclass(frozen=True, eq=False)
class FairRun:
    """What FaIR makes of emissions.

    pathway: forcing, a member a parameter set.
    warming: [member, year] global mean surface temperature over that of 1750 [K], mean of each year.
    co2: [member, year] concentration [ppm].
    """

    pathway: Pathway
    warming: Array
    co2: Array


def run_fair(
    name: str, years: Index, emissions: Mapping[str, Array], sets: int = SETS, notes: tuple[str, ...] = ()
) -> FairRun:
    """Return forcing and warming of emissions [year] by species, from 1750 on, by `sets` of the calibrated ensemble.

    Raises MeshcastError where `fair` is not installed.
    """
    fair = _library()
    parameters = parameter_sets()
    parameters = parameters.iloc[np.linspace(0, len(parameters) - 1, min(sets, len(parameters))).round().astype(int)]
    properties = species_properties()
    model = fair.FAIR(ch4_method="thornhill2021")  # as calibrated
    model.define_time(int(years[0]), int(years[-1]) + 1, 1)
    model.define_scenarios([name])
    model.define_configs([int(label) for label in parameters.index])
    flags = ("greenhouse_gas", "aerosol_chemistry_from_emissions", "aerosol_chemistry_from_concentration")
    model.define_species(
        list(properties.index),
        {
            species: {"type": row["type"], "input_mode": row["input_mode"], **{flag: bool(row[flag]) for flag in flags}}
            for species, row in properties.iterrows()
        },
    )
    model.allocate()
    _set_species(model, properties)
    _set_ensemble(model, parameters)
    for species, values in emissions.items():
        model.emissions.loc[{"specie": species}] = values[:, None, None]
    bounds = np.append(years, years[-1] + 1)
    for agent, values in natural_forcing(bounds).items():
        scale = parameters[f"forcing_scale[{agent}]"].to_numpy()
        model.forcing.loc[{"specie": agent}] = values[:, None, None] * scale
    fair.initialise(model.concentration, model.species_configs["baseline_concentration"])
    for start in (model.forcing, model.temperature, model.cumulative_emissions, model.airborne_emissions):
        fair.initialise(start, 0)
    fair.initialise(model.ocean_heat_content_change, 0)
    model.run(progress=False)
    return _result(name, years, model, notes)


@dataclass(frozen=True)
class _Fair:
    FAIR: Any
    fill: Any
    initialise: Any


def _library() -> _Fair:
    try:
        from fair import FAIR
        from fair.interface import fill, initialise
    except ImportError as error:
        raise MeshcastError(
            f"From emissions to forcing leads the package fair, which cannot be imported: {error}. Install it with "
            'pip install "meshcast[climate]", or give the forcing itself.'
        ) from None
    return _Fair(FAIR, fill, initialise)


def _set_species(model: Any, properties: Any) -> None:
    """Set the properties of each species, the same in all sets, as `FAIR.fill_species_configs` does from a file."""
    numbers = properties.drop(columns=["type", "input_mode"])
    for species, row in numbers.iterrows():
        for key, value in row.items():
            box = key[-1] if key[:-1] in ("partition_fraction", "unperturbed_lifetime") else None
            if box is not None:
                model.species_configs[key[:-1]].loc[{"specie": species, "gasbox": int(box)}] = value
            elif key in model.species_configs and "specie" in model.species_configs[key].dims:
                model.species_configs[key].loc[{"specie": species}] = value
    for key, kind in (("aci_scale", "aci"), ("lifetime_temperature_sensitivity", "ch4")):
        model.species_configs[key][:] = properties.loc[properties["type"] == kind, key].iloc[0]
    model.calculate_concentration_per_emission()


def _set_ensemble(model: Any, parameters: Any) -> None:
    """Set what differs from one parameter set to another: columns such as `forcing_scale[CO2]` and `aci_scale`."""
    for column in parameters:
        key, _, index = str(column).rstrip("]").partition("[")
        values = parameters[column].to_numpy(np.float64)
        if key in model.climate_configs:
            place = {"layer": int(index)} if index else {}
            model.climate_configs[key].loc[place] = values
        elif not index:
            model.species_configs[key][:] = values
        elif index in model.species:
            model.species_configs[key].loc[{"specie": index}] = values
    model.climate_configs["stochastic_run"][:] = False


def _result(name: str, years: Index, model: Any, notes: tuple[str, ...]) -> FairRun:
    forcing = model.forcing.to_numpy()[:, 0]  # [bound, set, species]
    by_year = np.moveaxis((forcing[1:] + forcing[:-1]) / 2, 0, 1)  # [set, year, species]
    columns = np.zeros((*by_year.shape[:2], len(AGENTS)))
    for column, species in enumerate(model.species):
        if species in AGENT_OF:
            columns[..., AGENTS.index(AGENT_OF[species])] = by_year[..., column]
        elif model.properties_df.loc[species, "greenhouse_gas"]:
            columns[..., AGENTS.index("other_wmghg")] += by_year[..., column]
    surface = model.temperature.to_numpy()[:, 0, :, 0]
    co2 = model.concentration.sel(specie="CO2").to_numpy()[:, 0]
    warming, ppm = ((values[1:] + values[:-1]).T / 2 for values in (surface, co2))
    return FairRun(Pathway(name, years, columns, FAIR_SOURCE, notes), warming, ppm)
