"""A climate under pathways of forcing: every pathway and member rolled out together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.baselines.first_guess import ForcedStep
from emulator.baselines.forced_response import ForcedResponse
from emulator.data.forcing_sources import forcings_of
from emulator.forcings import Forcings
from emulator.foundation.threads import faster_threads, num_threads, threads_given
from emulator.foundation.time_step import to_datetime, to_seconds
from emulator.global_scalars import GlobalScalars
from emulator.neural import NeuralEmulator
from emulator.pathways.pathway import AGENTS, TOTAL, Pathway
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.protocol import Emulator, rollout
from emulator.state import State, Step, predicted_fields
from emulator.task import Variable
from emulator.variability import Variability
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

Array = NDArray[np.float64]
Index = NDArray[np.int64]
SLACK = 0.1  # of a forcing's training range, beyond which is beyond


@dataclass(frozen=True, eq=False)
class Scenario:
    """What an emulator makes of a pathway.

    values: [member, time, node, variable] in physical units. expected: [time, node, variable], the mean over what
        members' forcings bring about, without the chance of single years. forcing: [member, time] total [W m-2].
    beyond: by forcing, the first year in which its mean over members leaves the range that the emulator was trained on.
    emulator: its name. drawn: whether members have weather of their own, and not forcing alone.
    """

    pathway: Pathway
    variables: tuple[Variable, ...]
    mesh: Mesh
    times: Index
    values: NDArray[np.float32]
    forcing: Array
    beyond: Mapping[str, int]
    emulator: str
    expected: NDArray[np.float32]
    drawn: bool = False

    @property
    def there(self) -> NDArray[np.bool_]:
        """Return which nodes [node] have values; others are masked, such as land in the sea's temperature."""
        return np.asarray(~np.isnan(self.values).all(axis=(0, 1, 3)))

    @property
    def years(self) -> Index:
        """Return the year [time] of each time."""
        return years_of(self.times)

    def yearly(self, variable: int) -> tuple[Index, Array]:
        """Return years and the means [member, year, node] of one variable over each."""
        return yearly(self.years, self.values[..., variable])

    def yearly_expected(self, variable: int) -> tuple[Index, Array]:
        """Return years and the means [year, node] over each of what is expected of one variable."""
        years, means = yearly(self.years, self.expected[None, ..., variable])
        return years, means[0]


def yearly(years: Index, values: NDArray[np.floating]) -> tuple[Index, Array]:
    """Return calendar years and the means [row, year, node] over each of values [row, time, node]."""
    unique, inverse = np.unique(years, return_inverse=True)
    sums = np.zeros((len(unique), len(values), values.shape[2]))
    for place, moment in zip(inverse, np.moveaxis(values, 1, 0), strict=True):
        sums[place] += moment
    return unique, np.moveaxis(sums, 0, 1) / np.bincount(inverse)[None, :, None]


def years_of(times: Index) -> Index:
    """Return the calendar year of each time."""
    return np.asarray(to_datetime(times).astype("datetime64[Y]").astype(np.int64) + 1970, np.int64)


def run_scenarios(
    emulator: Emulator,
    name: str,
    pathways: Sequence[Pathway],
    first: int,
    last: int,
    members: int = 1,
    initial: State | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    done: Callable[[int, int], None] | None = None,
    variability: Variability | None = None,
    seed: int = 0,
) -> list[Scenario]:
    """Return what an emulator makes of pathways, from the year `first` to the year `last`.

    A solver starts in balance with the first forcing of a pathway, in its first year; an emulator whose forecast is a
    response to forcings alone in the year before `first`; every other from `initial`, which is of an earlier year.

    members: of each pathway, evenly over its own; without a variability a pathway with one has one.
    variability: by which several members differ, whatever their forcing. All pathways share what is drawn, so that
        members of two differ by their forcing alone. seed: of what is drawn.
    ranges: of the forcings that the emulator was trained on, by name. done: told how many
        steps are made, and of how many.

    Raises MeshcastError where a pathway does not reach so far, and where an emulator needs a start and has none.
    """
    if emulator.mesh.domain.kind != "sphere":
        raise MeshcastError(f"A scenario is of the whole globe, but {name} covers a {emulator.mesh.describe()}.")
    begin = max(int(one.years[0]) for one in pathways)
    if first <= begin:
        raise MeshcastError(f"A scenario cannot begin in {first}: its pathways do in {begin}. Ask for later years.")
    chosen = [_spread(len(one.forcing), members) for one in pathways]
    pathways = [one.between(int(one.years[0]), last) for one in pathways]
    owners = [number for number, those in enumerate(chosen) for _ in those]
    scalars = _scalars(pathways, [(number, member) for number, those in enumerate(chosen) for member in those])
    forcings = forcings_of(emulator.task, emulator.mesh, scalars=scalars)
    state = _start(emulator, first, len(owners), forcings, scalars, initial)
    steps = _steps(emulator, state, first, last)
    kept: list[NDArray[np.float32]] = []
    times: list[int] = []
    threads = threads_given() or faster_threads(lambda: next(rollout(emulator, state, forcings, 1)))
    with torch.no_grad(), num_threads(threads):
        for number, step in enumerate(rollout(emulator, state, forcings, steps)):
            valid_time = step[0].valid_time
            if years_of(valid_time[:1])[0] >= first:
                kept.append(_values(step))
                times.append(int(valid_time[0]))
            if done is not None:
                done(number + 1, steps)
    values, moments = np.stack(kept, axis=1), np.array(times, np.int64)
    masked = np.isnan(values).all(axis=(0, 1, 3), keepdims=True)  # a masked node has no value ever
    broken = ~np.isfinite(values) & ~masked
    if broken.any() or np.isnan(values).all():
        row, moment = np.argwhere(broken)[0][:2] if broken.any() else (0, 0)
        raise MeshcastError(
            f"{name} under {pathways[owners[int(row)]].name} is no number from {to_datetime(moments)[moment]} on. It "
            "does not carry so far; use another emulator."
        )
    variables, mesh, found = emulator.task.predicted, emulator.mesh, []
    for number, pathway in enumerate(pathways):
        rows = [row for row, owner in enumerate(owners) if owner == number]
        total = np.stack([scalars.at(moments, np.full(len(moments), row))[:, 0] for row in rows])
        beyond = _beyond(forcings, emulator.task.forcing, ranges or {}, moments, rows)
        expected = values[rows].mean(axis=0)
        found.append(Scenario(pathway, variables, mesh, moments, values[rows], total, beyond, name, expected))
    return found if variability is None or members == 1 else _with_weather(found, variability, members, seed)


def _with_weather(scenarios: Sequence[Scenario], variability: Variability, members: int, seed: int) -> list[Scenario]:
    """Return so many members of each with weather of their own, evenly over those of the forcing; all share it."""
    times = scenarios[0].times
    places = [np.linspace(0, len(one.values) - 1, members).round().astype(int) for one in scenarios]
    drawn = [np.empty((members, *one.values.shape[1:]), np.float32) for one in scenarios]
    for member in range(members):
        unit = variability.draw(len(times), 1, np.random.default_rng([seed, member]))[0]
        for one, place, values in zip(scenarios, places, drawn, strict=True):
            values[member] = variability.applied(times, one.values[place[member]].astype(np.float64), unit)
    return [
        replace(one, values=values, forcing=one.forcing[place], drawn=True)
        for one, place, values in zip(scenarios, places, drawn, strict=True)
    ]


def _spread(count: int, wanted: int) -> list[int]:
    """Return the places of so many members, or of all, evenly over them."""
    return [int(place) for place in np.linspace(0, count - 1, min(wanted, count)).round()]


def _steps(emulator: Emulator, state: State, first: int, last: int) -> int:
    """Return how many steps there are to the end of the year `last`; raise MeshcastError for a start too late."""
    begin = state.valid_time[:1]
    span = 12 * (last + 1 - int(years_of(begin)[0]))  # a step is a month at least
    ahead = emulator.task.time_step.advance(np.repeat(begin, max(span, 1)), 1 + np.arange(max(span, 1)))
    steps = int((years_of(ahead) <= last).sum())
    if last < first or years_of(begin)[0] >= first or steps < 1:
        raise MeshcastError(
            f"A scenario from {first} to {last} cannot start at {to_datetime(begin)[0]}. Start in an earlier year, or "
            "ask for later ones."
        )
    return steps


def _scalars(pathways: Sequence[Pathway], rows: Sequence[tuple[int, int]]) -> GlobalScalars:
    """Return the forcing of each row, a pathway and a member, the total first."""
    tables = [pathways[number].table(member) for number, member in rows]
    first = tables[0]
    values = np.stack([table.values for table in tables], axis=1)
    units = ("W m-2",) * len(first.names)
    return GlobalScalars((TOTAL, *AGENTS), units, first.times, tuple(range(len(rows))), values, "the pathways")


def _start(
    emulator: Emulator, first: int, rows: int, forcings: Forcings, scalars: GlobalScalars, initial: State | None
) -> State:
    """Return the state [row, ...] from which all rows go on."""
    numbers, task = np.arange(rows), emulator.task
    if initial is not None:
        values = initial.values[:1].expand(rows, *initial.values.shape[1:])
        return State(values.clone(), np.repeat(initial.valid_time[:1], rows), numbers)
    if isinstance(emulator, EnergyBalanceSolver):
        begin = np.array([scalars.times[0]])
        balanced = [emulator.equilibrium(begin, float(scalars.values[0, row, 0])) for row in range(rows)]
        return State(torch.cat([state.values for state in balanced]), np.repeat(begin, rows), numbers)
    model = emulator.first_guess if isinstance(emulator, NeuralEmulator) else emulator
    model = model.model if isinstance(model, ForcedStep) else model
    if not isinstance(model, ForcedResponse):
        raise MeshcastError(
            "This emulator goes on from a state, so a scenario needs one to start from: --initial SOURCE, whose first "
            "time is taken."
        )
    begin = to_seconds(np.array([f"{first - 1}-07-01"], "datetime64[s]"))
    shape = rows, 1, task.history, emulator.mesh.num_nodes, len(task.prognostic)
    dummy = State(torch.zeros(shape, dtype=torch.float64), np.repeat(begin, rows), numbers)
    following, _ = model.step(dummy, forcings.window(dummy, model.task, 0))
    return State(following.now.unsqueeze(2).expand(shape).clone(), dummy.valid_time, numbers)


def _values(step: Step) -> NDArray[np.float32]:
    """Return [row, node, variable] of the newest fields, without perturbed members."""
    with np.errstate(over="ignore"):  # which is said once all is known
        return np.asarray(predicted_fields(step)[:, 0].numpy(force=True), np.float32)


def _beyond(
    forcings: Forcings,
    names: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
    times: Index,
    rows: Sequence[int],
) -> dict[str, int]:
    """Return the first year in which the mean of some rows leaves the range of a forcing, by forcing."""
    known = [name for name in names if name in ranges]
    if not known:
        return {}
    given = [forcings.at(times, known, 1, trajectory=np.full(len(times), row))[:, 0] for row in rows]
    mean, found = np.mean(given, axis=0), {}
    for column, name in enumerate(known):
        low, high = ranges[name]
        slack = SLACK * (high - low)
        outside = (mean[:, column] < low - slack) | (mean[:, column] > high + slack)
        if outside.any():
            found[name] = int(years_of(times[outside][:1])[0])
    return found
