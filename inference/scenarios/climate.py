"""What a scenario is run with: a solver, or a trained emulator with what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emulator.build import load_emulator
from emulator.data.initial import initial_conditions
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.physics.climate_simulation import ClimateSimulationConfig
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.protocol import Emulator
from emulator.state import State
from graphs.errors import MeshcastError


@dataclass(frozen=True, eq=False)
class Climate:
    """An emulator for scenarios.

    name: for titles. initial: where it starts from, where it needs a start. ranges: of the forcings of its training, by
    name. about: attributes for its files.
    """

    name: str
    emulator: Emulator
    initial: State | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)


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
    return Climate(trained.name, trained.emulator, start, ranges, about)
