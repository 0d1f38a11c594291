"""What a scenario is run with: a solver, or a trained emulator with what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emulator.build import load_emulator
from emulator.data.initial import initial_conditions
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.physics.climate_simulation import ClimateSimulationConfig
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.protocol import Emulator
from emulator.state import State
from emulator.variability import Variability
from graphs.errors import MeshcastError
from inference.pictures.style import pretty_unit
from inference.scenarios.scenario import Scenario

EARTH_SURFACE_KM2 = 5.1e8
ENOUGH = 20  # members for a band, whose ends fewer would draw inwards


@dataclass(frozen=True, eq=False)
class Climate:
    """An emulator for scenarios.

    name: for titles. initial: where it starts from, where it needs a start. ranges: of the forcings of its training, by
    name. about: attributes for its files. error: of its validation, in the units of its first variable.
    variability: by which its members differ, where that was fitted. test: what the test part said
    of it, see `training.runs.scenario_test.ScenarioTest`.
    """

    name: str
    emulator: Emulator
    initial: State | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None
    variability: Variability | None = None
    test: Mapping[str, Any] = field(default_factory=dict)


def climate_of_solver(config: ClimateSimulationConfig) -> Climate:
    """Return the solver of a climate's simulation, on the Gaussian grid of its truncation."""
    solver = EnergyBalanceSolver(config.equation, TimeStep.parse(config.time_step))
    words = config.in_words()
    return Climate("energy balance", solver, about={"comment": words, "licence": config.licence})


def climate_of_emulator(path: Path, initial: str | None, trajectory: int | None = None) -> Climate:
    """Return a trained emulator, to start from the first time of a source.

    Raises MeshcastError where no radiative forcing drives it, and where a source of several trajectories or members
    does not say which: they may be in balance with any forcing.
    """
    trained = load_emulator(path)
    task, mesh = trained.emulator.task, trained.emulator.mesh
    if not task.given_forcing or task.time_step.true_length is not None:
        raise MeshcastError(
            f"{trained.name} is driven by {', '.join(task.given_forcing) or 'no forcing'}, but a scenario is of "
            "radiative forcing. Train one with effective_radiative_forcing, or agents of it, among task.forcing."
        )
    start = None
    if initial is not None:
        fields = open_fields(initial, names=task.prognostic)
        first = str(to_datetime(fields.times[:1])[0])
        conditions = initial_conditions(fields, task, mesh, first, {}, {}, trained.valid_by_name(), None)
        count = len(conditions.state.valid_time) * conditions.state.values.shape[1]
        if (trajectory is None and count > 1) or (trajectory is not None and trajectory >= count):
            raise MeshcastError(
                f"{initial} holds {count} trajectories or members, and a scenario starts from one: --trajectory 0 to "
                f"{count - 1}. Choose one in balance with the pathways' first forcing."
            )
        values = conditions.state.values.flatten(0, 1)[trajectory or 0]
        start = State(values[None, None], conditions.state.valid_time[:1])
    data = trained.metadata.get("dataset", {})
    given = trained.metadata.get("forcing_ranges", {})
    about = {f"training_{key}": str(data[key]) for key in ("source", "fingerprint") if key in data}
    ranges = {name: (float(low), float(high)) for name, (low, high) in given.items()}
    if title := data.get("attributes", {}).get("title"):
        about["training_title"] = str(title)
    score = trained.metadata.get("validation_score")
    error = None if score is None else float(score) * float(trained.statistics.std[0])
    test = trained.metadata.get("scenario_test", {})
    return Climate(trained.name, trained.emulator, start, ranges, about, error, trained.variability, test)


def limits_of(climate: Climate, scenarios: Sequence[Scenario]) -> list[str]:
    """Return what scenarios by a climate cannot tell, in sentences for whoever reads their maps."""
    lines = _limits_of_solver(climate.emulator) if isinstance(climate.emulator, EnergyBalanceSolver) else []
    lines = lines or _limits_of_emulator(climate)
    lines.append(
        "Lines and maps are what is expected of a climate, without the chance of single years: a cold winter or a hot "
        "summer can depart from them by more than pathways do from each other."
    )
    width = (EARTH_SURFACE_KM2 / climate.emulator.mesh.num_nodes) ** 0.5
    lines.append(
        f"A cell is about {round(width, -1):.0f} km wide. Towns, coasts, mountains and valleys are not in it; the "
        "value at a point is that of its cell."
    )
    meaning = meaning_of_bands(scenarios)
    if not meaning:
        lines.append("No band is shown: nothing here says how sure a line is.")
    else:
        lines.append(f"{meaning} How unsure the climate's response is, is not in them.")
    lines.append("Which pathway will come true, or how likely one is, is not in it: that is for people to decide.")
    for scenario in scenarios:
        if scenario.beyond:
            names = " and ".join(scenario.beyond)
            lines.append(
                f"From {min(scenario.beyond.values())} on {scenario.pathway.name} is under forcings that the emulator "
                f"was never trained on ({names}: a forcing, or what the climate remembers of one, beyond any year that "
                "it learned from); what it says there is a guess."
            )
    return lines


def first_words(climate: Climate) -> str:
    """Return what a reader of scenarios must know before looking at any figure."""
    who = "of one climate model, as an emulator has learned them; other models differ by more than any band here"
    if isinstance(climate.emulator, EnergyBalanceSolver):
        who = "of a planet in an equation, not of the Earth"
    return (
        f"These are the answers {who}. A pathway is a choice that people make: nothing here says how likely it is. "
        "Where a line is dotted, the emulator guesses."
    )


def meaning_of_bands(scenarios: Sequence[Scenario]) -> str:
    """Return what the bands of scenarios say, in a sentence; nothing where there are none."""
    shown = [scenario for scenario in scenarios if len(scenario.values) > 1]
    if not shown:
        return ""
    forced = any(np.ptp(scenario.forcing, axis=0).max() > 0 for scenario in shown)
    chance = (
        "the chance of single years, as the climate model that was learned from has it, the same under every pathway"
    )
    parts = [chance] * shown[0].drawn
    parts += ["how unsure the forcing is that emissions bring about"] * forced
    few = too_few(scenarios)
    warning = "" if few is None else f" They are of {few} members, too few to tell 5 to 95 %: take {ENOUGH} or more."
    return f"Bands are {' and '.join(parts) or 'of members that are alike'}, from 5 to 95 %.{warning}"


def too_few(scenarios: Sequence[Scenario]) -> int | None:
    """Return the members of the smallest band, where these are too few for one; None where no band has too few."""
    fewest = min((len(scenario.values) for scenario in scenarios if len(scenario.values) > 1), default=ENOUGH)
    return fewest if fewest < ENOUGH else None


def _limits_of_solver(solver: EnergyBalanceSolver) -> list[str]:
    lines = [
        "It is an energy balance: there is no weather, wind, rain or ocean current in it, heat spreads by diffusion, "
        f"and how much it warms for twice the CO2, {solver.config.sensitivity:g} K, is a choice, not a finding."
    ]
    if solver.config.land is None:
        lines.append(
            "Its planet is alike all along a latitude, without land or sea: coasts and regions only show where on the "
            "Earth a place would be."
        )
    return lines


def _limits_of_emulator(climate: Climate) -> list[str]:
    learned = climate.about.get("training_title") or climate.about.get("training_source", "not stated")
    tested = _tested(climate) or (
        "How far it errs on years that it has not seen is not known: it was not tested when it was made."
        if climate.error is None
        else f"On years that it had not learned from it erred by {climate.error:.1f} at one place in one year."
    )
    return [
        f"It repeats the one climate that it learned from ({learned}), faults and sensitivity included; climate models "
        "differ from each other by more than any band shown here.",
        tested,
    ]


def _tested(climate: Climate) -> str:
    """Return what the test part says of an emulator, in a sentence; nothing where it has none."""
    test = climate.test
    if not test:
        return ""
    units = pretty_unit(str(test["units"]))
    under = f" under {test['pathway']}" if test.get("pathway") else ""
    mean, globe, yearly = (f"{test[name]:.2f} {units}" for name in ("mean_error", "global_error", "yearly_error"))
    return (
        f"Tested on the years {test['first']} to {test['last']}{under}, which it had not learned from, its mean over "
        f"these years erred by {mean} at a place and by {globe} for the globe, a single year by {yearly} at a place. "
        f"{held_by_bands(climate)} Another pathway than the tested one may be harder."
    )


def held_by_bands(climate: Climate) -> str:
    """Return how often bands held the truth in the test, in a sentence; nothing where that is not known."""
    share = climate.test.get("coverage")
    if share is None:
        return ""
    text = f"In a test on years that it had not learned {100 * share:.0f} % of regions' years lay within the band"
    if (long := climate.test.get("long_coverage")) is not None:
        text += f" and {100 * long:.0f} % of their means over 20 years lay within the band of such means"
    return f"{text}; 90 % should" + ("." if min(share, long or share) > 0.85 else ": it is too narrow there.")
