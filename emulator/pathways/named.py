"""A pathway from what a user writes: a name, a file, levers on a pathway, or a mean of several."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from emulator.foundation.configuration_faults import nearest
from emulator.pathways.fair_model import SETS, run_fair
from emulator.pathways.levers import Levers, emissions_by
from emulator.pathways.pathway import Pathway, mixed
from emulator.pathways.pathway_file import BASES, EARLIEST, LATEST, read_pathway_file
from emulator.pathways.shipped import CONCENTRATIONS, FILES, emission_names, emissions_of, forcing_names, forcing_of
from graphs.errors import MeshcastError

LAST = 2100
FORMS = (
    "a name, a CSV file by year, levers such as medium-extension:peak=2030:net-zero=2070:methane=-40%, or a mean of "
    "several such as 0.3*ssp126+0.7*ssp245"
)


def read_pathway(text: str, last: int | None = None, sets: int = SETS) -> Pathway:
    """Return the pathway that a text names, from 1750 to the year `last`.

    last: by default as far as its forcing is known, of emissions to 2100.
    sets: of FaIR's ensemble, where emissions are turned into forcing.

    Raises MeshcastError for a name that is not known, with the nearest that is, and for years out of range.
    """
    if last is not None and not EARLIEST < last <= LATEST:
        raise MeshcastError(f"Pathways reach from {EARLIEST} to {LATEST}, but {last} is asked for.")
    text = text.strip()
    if re.match(r"[\d.]+\s*\*", text):
        return mixed(text, [_weighted(part, text, last, sets) for part in text.split("+")])
    if text in forcing_names():
        return forcing_of(text).between(EARLIEST, last or LATEST)
    if text in CONCENTRATIONS:
        given = read_pathway_file(FILES / f"{text}.csv", last)
        return replace(given, source=f"{CONCENTRATIONS[text]}; {forcing_of(BASES['concentration']).source}")
    base, *levers = text.split(":")
    if base in emission_names():
        notes: tuple[str, ...] = ()
        if levers:
            years, emissions, notes = emissions_by(Levers.read(levers, text), base)
        else:
            years, emissions, _ = emissions_of(base)
        kept = years <= (last or LAST)
        return run_fair(
            text, years[kept], {name: values[kept] for name, values in emissions.items()}, sets, notes
        ).pathway
    if levers and "=" in text:
        known = emission_names()
        raise MeshcastError(
            f"Levers act on one of {', '.join(known)}, but {text} begins with {base}{nearest(base, known)}"
        )
    if Path(text).suffix or Path(text).is_file():
        return read_pathway_file(text, last, sets=sets)
    known = (*forcing_names(), *CONCENTRATIONS, *emission_names())
    raise MeshcastError(
        f"There is no pathway named {text!r}{nearest(text, known) or '.'} Known are {', '.join(known)}. Expected "
        f"{FORMS}."
    )


def _weighted(part: str, text: str, last: int | None, sets: int) -> tuple[float, Pathway]:
    weight, star, name = part.partition("*")
    try:
        number = float(weight)
    except ValueError:
        star, number = "", 0.0
    if not star:
        raise MeshcastError(
            f"{text} is not understood at {part.strip()!r}: expected weights as in 0.3*ssp126+0.7*ssp245."
        )
    return number, read_pathway(name, last, sets)
