"""What pathways, variables and the words of a scenario's page mean, for readers who are no climate scientists."""

from __future__ import annotations

TITLES = {
    "tas": "air temperature near the surface",
    "2t": "air temperature near the surface",
    "tasmax": "highest air temperature of the year near the surface",
    "pr": "precipitation",
    "tprate": "precipitation",
    "deep_ocean_temperature": "temperature of the deep ocean",
}
PATHWAYS = {  # AR6 WG1, summary for policymakers, box SPM.1; a1b: AR4; rcp26: van Vuuren et al. 2011
    "ssp119": "Very low emissions: those of CO2 fall to net zero around 2050 and below it after.",
    "ssp126": "Low emissions: those of CO2 fall to net zero after 2050 and below it after.",
    "ssp245": "Intermediate emissions: those of CO2 stay near today's until the middle of the century.",
    "ssp370": "High emissions: those of CO2 double by 2100.",
    "ssp585": "Very high emissions: those of CO2 double by 2050.",
    "ssp534-over": "Very high emissions until 2040, then a fall so steep that CO2 is taken out of the air again.",
    "a1b": "Fast growth with a mix of fuels (SRES, of the year 2000).",
    "rcp26": "Low emissions, forcing of 2.6 W m-2 in 2100 (of the year 2011).",
}
WORDS = (
    ("K", "a kelvin; of a change the same as a degree Celsius."),
    ("base period", "the years whose mean is the zero of every change here."),
    ("pathway", "what is emitted, year by year, until the end of the century: a choice that people make, no forecast."),
    (
        "forcing",
        "by how many watts on each square metre (W m⁻²) gases, dust and the sun disturb the balance between sunshine "
        "taken in and heat radiated, before the planet has warmed.",
    ),
    ("emulator", "a small model that learned from runs of a large climate model to give its answer quickly."),
    ("cell", "the smallest piece of the map that has a value of its own."),
    ("member", "one of several possible courses of the weather, or of the forcing, under one pathway."),
    (
        "band",
        "where nine of ten members lie, from the 5th to the 95th of a hundred: how far a single year may stray from "
        "the line. It is no range for the line itself.",
    ),
    (
        "a guess",
        "what an emulator says under a forcing, or after a rise of one, that no year it learned from had; lines are "
        "dotted there.",
    ),
    (
        "ssp126, ssp245, ssp585 …",
        "pathways of the sixth report of the IPCC; each is told below the choice of pathways.",
    ),
    (
        "passing 2 K",
        "the middle of the first 20 years whose mean is 2 K above the base period, in this model; it may warm sooner "
        "or later than the Earth does.",
    ),
)


def title_of(name: str) -> str:
    """Return what a variable is called in a sentence."""
    return TITLES.get(name, name)
