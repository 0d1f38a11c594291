"""Data and the task as a paragraph on methods has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emulator.data.formats import ANEMOI, format_of
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from emulator.harmonic_fields import HarmonicFields
from emulator.physics.simulate import simulation_of
from emulator.task import Task, wind_pairs
from graphs.errors import MeshcastError
from training.experiment import DataPart
from training.runs.citations import entry_of_data, key_of_doi, uncited

UNKNOWN = ("", "unknown")


def data_sentences(train: Fields, validation: Fields, test: Fields | None, task: Task, part: DataPart) -> list[str]:
    """Return what the data are, where from, on which nodes and how split; part: that train was opened from."""
    units = dict(zip(train.variables, train.units, strict=True))
    predicted = listed([f"{variable.name} [{uncited(units[variable.name])}]" for variable in task.predicted])
    origin, reading = _origin(train), "read by anemoi-datasets [@anemoi-datasets]" if _is_anemoi(part.source) else ""
    joint = (" and " if "simulation" in train.attributes else ", ") if reading else ""
    found = [
        f"The data are {_name(train)}{origin}{joint}{reading}: {predicted} in steps of "
        f"{length_of(task.time_step)} on a {train.mesh.describe()}."
    ]
    if (simulated := simulation_of(train.attributes)) is not None:
        found.append(f"They follow {simulated.in_words()}.")
    if isinstance(train, HarmonicFields):
        found.append(
            f"They are taken there from a {train.stored.mesh.describe()} by spherical harmonics up to degree "
            f"{train.config.truncation}."
        )
    found += _terms(train)
    parts = {"training": train, "validation": validation} | ({} if test is None else {"test": test})
    found.append("They are split into " + listed([f"{_extent(f, task)} for {name}" for name, f in parts.items()]) + ".")
    return found


def own_entry(fields: Fields) -> dict[str, str]:
    """Return the entry `data` of data that name neither a paper that is known here nor Meshcast; none otherwise."""
    given = fields.attributes
    attribution = str(given.get("attribution", ""))
    if attribution in UNKNOWN or "simulation" in given or key_of_doi(attribution):
        return {}
    licence = str(given.get("licence", ""))
    return {"data": entry_of_data(_title(fields), attribution, "" if licence in UNKNOWN else licence)}


TRANSFORMS = {
    "sqrt": "its square root",
    "log1p": "the logarithm of one plus its ratio to a scale",
    "quantile": "the normal deviate of its rank in the training part",
}


def task_sentences(task: Task) -> list[str]:
    """Return what is forecast from what."""
    known = f", forced by {listed(task.forcing)}" if task.forcing else ""
    known += f", with the static fields {listed(task.static)}" if task.static else ""
    states = "the present state" if task.history == 1 else f"the last {task.history} states"
    found = [f"From {states} the next one is forecast{known}."]
    winds = [f"({task.predicted[u].name}, {task.predicted[v].name})" for u, v in wind_pairs(task)]
    if winds:
        found.append(f"{listed(winds)} {'is a vector' if len(winds) == 1 else 'are vectors'} for the network.")
    if kept := [variable.name for variable in task.predicted if variable.conserved]:
        found.append(f"The area mean of {listed(kept)} is conserved exactly.")
    if bounded := [variable for variable in task.predicted if variable.bounds is not None]:
        found.append(f"Predictions of {listed([variable.name for variable in bounded])} are held to their bounds.")
    for kind, words in TRANSFORMS.items():
        if names := [v.name for v in task.variables if v.transform is not None and v.transform.kind == kind]:
            found.append(f"What is learned of {listed(names)} is {words}.")
    if otherwise := [v for v in task.variables if v.normaliser != "mean_std"]:
        named = [f"{v.name} by {v.normaliser.replace('_', '-')}" for v in otherwise]
        found.append(f"Normalised other than by mean and standard deviation: {listed(named)}.")
    return found


def _name(fields: Fields) -> str:
    return f"“{uncited(_title(fields))}”"


def _title(fields: Fields) -> str:
    title = str(fields.attributes.get("title", ""))
    return Path(fields.source.rstrip("/")).name if title in UNKNOWN else title


def _origin(fields: Fields) -> str:
    """Return where the data come from: Meshcast, or the paper that they name."""
    if "simulation" in fields.attributes:
        return ", simulated with Meshcast"
    key = key_of_doi(str(fields.attributes.get("attribution", "")))
    return f" [@{key}]" if key else ""


def _terms(fields: Fields) -> list[str]:
    given = fields.attributes
    licence, attribution = (uncited(str(given.get(name, ""))) for name in ("licence", "attribution"))
    found = [] if licence in UNKNOWN else [f"Their licence is {licence}."]
    if attribution not in UNKNOWN and "simulation" not in given:
        found.append(f"Attribution: {attribution.rstrip('.')}{' [@data]' if own_entry(fields) else ''}.")
    return found


def length_of(step: TimeStep) -> str:
    """Return a time step; that of an equation in its own units."""
    return f"{step} units of time" if step.true_length is not None and not step.true_units else str(step)


def _extent(fields: Fields, task: Task) -> str:
    times = f"{len(fields.times):,} times"
    if fields.ensemble_axis == "trajectory" and fields.ensemble_size > 1:
        return f"{fields.ensemble_size:,} trajectories of {times}"
    first, last = map(task.time_step.moment, fields.times[[0, -1]])
    members = f", {fields.ensemble_size} members" if fields.ensemble_size > 1 else ""
    return f"{first} to {last} ({times}{members})"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_anemoi(source: Any) -> bool:
    sources = source if isinstance(source, list) else [source]
    try:
        return all(not isinstance(one, str) or format_of(one) is ANEMOI for one in sources)
    except MeshcastError:
        return False
