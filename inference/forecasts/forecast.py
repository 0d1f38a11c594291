"""Forecasts: a rollout from many initial conditions at once, guarded, step by step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.coarse_solver import solver_attributes
from emulator.between import Between
from emulator.build import TrainedEmulator
from emulator.data.forecast import Forecast
from emulator.data.forecast_netcdf import PARTS
from emulator.data.starts import InitialConditions
from emulator.forcings import ForcingWindows
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.low_precision import Precision
from emulator.neural import in_precision, precision_of
from emulator.normalise import Statistics
from emulator.protocol import Emulator, rollout
from emulator.state import State, predicted_fields
from emulator.task import Task, names_of
from graphs.available_memory import answered_out_of_memory, held_memory, readable
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

BATCH_VALUES = 4_000_000  # of the state that pass through the emulator at a time; activations take some hundredfold
WIDENING = 1.0  # by this share of its width the training range grows, half of that on either side
LEAST_REACH = 1e-3  # of the training values' standard deviation
LEAST_SPREAD = 0.2  # of the flattest training field's, or of the climatology's where that is flatter
MEAN_FIELD_SHARE = 0.5  # of the fields' spread; a climatology that varies less is taken for flat
MOST_SPREAD = (5.0, 2.0)  # of the training fields' mean spread and of their largest, whichever is more


@dataclass(eq=False)
class GuardedRollout:
    """A rollout of many cases and members, in which each member that the guard stops turns to NaN.

    A case is computed for as long as one of its members goes on. That it leaves its batch changes the others by no more
    than the rounding of matrix products, which may depend on the number of rows.

    state: the initial states, [case, member, history, node, prognostic].
    guard: None leaves every member alone, as a comparison of baselines does.
    between, parts: what gives states between steps, and in how many parts they divide each; every part is a lead time.
    start: lead times already done, where a forecast is taken up again; `state` is then that of the last whole step.
    alive: [case, member] which have not been stopped; stops: why the others were.
    """

    emulator: Emulator
    state: State
    forcings: ForcingWindows
    guard: Guard | None = None
    start: int = 0
    generator: torch.Generator | None = None
    between: Between | None = None
    parts: int = 1
    alive: NDArray[np.bool_] = field(init=False)
    stops: list[Stop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alive = np.isfinite(self.state.now.cpu().numpy()).any(axis=(2, 3))  # NaN throughout: stopped before

    @torch.no_grad()
    def steps(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Yield `count` more leads [case, member, node, predicted], fewer where every member has been stopped."""
        shape = (*self.alive.shape, self.emulator.mesh.num_nodes, len(self.emulator.task.predicted))
        size = max(1, BATCH_VALUES // self.state.values[0].numel())
        cases = np.arange(len(self.alive))
        before = held_memory()
        batches = [self._batch(cases[first : first + size]) for first in range(0, len(cases), size)]
        for step in range(self.start + 1, self.start + count + 1):
            if not self.alive.any():
                return
            with self._in_memory(min(size, len(cases)), before):
                values = np.full(shape, np.nan, dtype=np.float32)
                for batch in batches:
                    if (computed := next(batch, None)) is not None:
                        here, fields = computed
                        values[here] = fields.float().cpu().numpy()
            if self.guard is not None:
                stops = self.guard.check(values, step, self.alive)
                self.stops += stops
                for stop in stops:
                    self.alive[stop.case, stop.member] = False
            values[~self.alive] = np.nan
            yield values

    def _in_memory(self, size: int, before: int) -> AbstractContextManager[None]:
        """Return a context that raises OutOfMemoryError, with what would take less, where a step runs out of memory.

        size: cases at a time. before: bytes that the process held at the start.
        """
        members = self.alive.shape[1]

        def what() -> str:
            return f"A step of {size} case{'s' * (size > 1)} and {members} member{'s' * (members > 1)} at a time"

        def remedy(held: int) -> str:
            took = max(held - before, self.state.values[:size].nbytes)
            half = f"{readable(took / 2)} of the {readable(took)} or more that it takes"
            if members > 1:
                return (
                    f"Half of the members (--members {-(-members // 2)}) save {half}: the members of a case are "
                    "computed together, so that two forecasts with --seed of their own need half each; and so does "
                    "--precision bfloat16."
                )
            return f"--precision bfloat16 saves about {half}, and fewer nodes or a smaller network save in proportion."

        return answered_out_of_memory(what, remedy)

    def _batch(self, cases: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield the `cases` that go on and their fields [case, member, node, predicted], lead after lead."""
        state, (done, before) = self.state.rows(cases), divmod(self.start, self.parts)
        while (going_on := self.alive[cases].any(axis=1)).any():
            cases, state = cases[going_on], state.rows(np.flatnonzero(going_on))
            forcings = self.forcings.rows(cases)
            for step in rollout(self.emulator, state, forcings, None, done, self.generator):
                if self.between is not None and self.parts > 1:
                    within = self.between.states(state, step, forcings, done, self.parts)
                    for fields in islice(within, before, None):
                        yield cases, fields
                state, done, before = step[0], done + 1, 0
                yield cases, predicted_fields(step)
                if not self.alive[cases].any(axis=1).all():
                    break


def with_members(state: State, members: int, perturb: float, std: Sequence[float], seed: int) -> State:
    """Return an ensemble around each state: member 0 as it is, the others with independent noise at each node.

    All times of the history get the same noise, so that it is a displacement of the state and no spurious tendency.
    Where there are several members already, `members` must be 1, and each is kept.

    perturb: standard deviation of the noise, in units of `std` [prognostic].
    """
    if members == 1:
        return state
    assert state.values.shape[1] == 1
    generator = torch.Generator().manual_seed(seed)
    values = state.values.repeat(1, members, 1, 1, 1)
    noise = torch.randn(values[:, 1:, :1].shape, generator=generator)
    values[:, 1:] += perturb * torch.as_tensor(std, dtype=values.dtype) * noise
    return State(values, state.valid_time, state.trajectory)


def forecast(
    trained: TrainedEmulator,
    initial: InitialConditions,
    forcings: ForcingWindows,
    steps: int,
    guard: Guard | None = None,
    precision: Precision = "float32",
    parts: int = 1,
) -> tuple[Forecast, list[Stop]]:
    """Return a forecast kept in memory; see `write_forecast` for one kept in a file.

    precision: of the network; see `in_precision`. Raises MeshcastError where the emulator cannot run in it.
    parts: of each step, every part a lead time; see `between_of`.
    """
    keep_freed_memory()
    trained = replace(trained, emulator=in_precision(trained.emulator, precision))
    emulator, state, leads = trained.emulator, initial.state, steps * parts
    predicted = emulator.task.predicted
    shape = (*state.values.shape[:2], leads, emulator.mesh.num_nodes, len(predicted))
    values = np.full(shape, np.nan, dtype=np.float32)
    rolled = GuardedRollout(emulator, state, forcings, guard, between=between_of(trained, parts), parts=parts)
    for lead, fields in enumerate(rolled.steps(leads)):
        values[:, :, lead] = fields
    result = Forecast(
        name=trained.name,
        values=values,
        variables=names_of(predicted),
        units=tuple(variable.units for variable in predicted),
        mesh=emulator.mesh,
        time_step=emulator.task.time_step.part(parts),
        init_time=state.valid_time,
        trajectory=initial.trajectory,
        lead_steps=np.arange(1, leads + 1),
        attributes={
            **initial.attributes,
            **solver_attributes(trained.config),
            **precision_of(emulator),
            **parts_attribute(parts),
        },
    )
    return result, with_starts(rolled.stops, initial, emulator.task)


def between_of(trained: TrainedEmulator, parts: int) -> Between | None:
    """Return what gives states between steps, where these are divided. Raises MeshcastError where there is nothing."""
    if parts > 1 and trained.between is None:
        raise MeshcastError(
            f"{trained.name} has no network for states between its steps of {trained.emulator.task.time_step}. Train "
            "it with a section `between` in its configuration, or forecast whole steps."
        )
    return None if parts == 1 or trained.between is None else trained.between.beside(trained.emulator)


def parts_attribute(parts: int) -> dict[str, str]:
    """Return what a forecast's attributes say of the parts that its lead times divide a step in; nothing of one."""
    return {PARTS: str(parts)} if parts > 1 else {}


@dataclass(frozen=True)
class Stop:
    """Why one case and member went no further than the step before.

    place: empty where the whole field is at fault. start: trajectory and initial time of the case, for people.
    """

    case: int
    member: int
    step: int
    variable: str
    reason: str
    place: str
    start: str = ""

    def __str__(self) -> str:
        what = f"{self.variable} {self.reason}{f' at {self.place}' if self.place else ''}"
        case = f"case {self.case}{f' ({self.start})' if self.start else ''}"
        return f"{case}, member {self.member} stopped at step {self.step}: {what}"

    @classmethod
    def read(cls, text: str) -> Stop:
        """Return the stop of a line, which it says again; its place stands with its reason."""
        found = re.fullmatch(
            r"case (\d+)(?: \((.*)\))?, member (\d+) stopped at step (\d+): (\S+) (.*)", text, re.DOTALL
        )
        if found is None:
            raise MeshcastError(f"{text!r} does not say where a forecast was stopped.")
        number, start, member, step, variable, reason = found.groups()
        return cls(int(number), int(member), int(step), variable, reason, "", start or "")


def with_starts(stops: Sequence[Stop], initial: InitialConditions, task: Task) -> list[Stop]:
    """Return the stops with the trajectory and the initial time of their cases."""
    named = []
    for stop in stops:
        row = initial.trajectory[stop.case]
        moment = task.time_step.moment(initial.state.valid_time[stop.case])
        named.append(replace(stop, start=f"trajectory {row}, from {moment}" if row >= 0 else f"from {moment}"))
    return named


@dataclass(frozen=True, eq=False)
class Guard:
    """Bounds of what an emulator was trained on.

    A value must be finite and lie within twice the training range, half of its width more on either side. The standard
    deviation over the nodes must be at most 5 times the training fields', or twice their largest. It must be at least a
    fifth of the flattest training field's, or of the climatology's where that is flatter. There is no such bound where
    the climatology itself is flat, as on a ring or of anomalies: a damped forecast tends to it, and the waves of a
    decaying equation end there.

    statistics: of the forecast variables in training. mesh: for the place of a fault.
    valid: [node, variable] where the training data had values; other nodes are not looked at.
    """

    statistics: Statistics
    mesh: Mesh
    valid: NDArray[np.bool_] | None = None

    def check(self, values: NDArray[np.float32], step: int, alive: NDArray[np.bool_]) -> list[Stop]:
        """Return the stops of members still alive, at most one each, for its worst fault.

        values: [case, member, node, variable] of one step; alive: [case, member].
        """
        values = values.astype(np.float64)
        valid = np.ones(values.shape[2:], dtype=bool) if self.valid is None else self.valid
        seen = np.where(valid, values, np.nan)
        statistics = self.statistics
        # What never varied in training may still differ by rounding.
        width = statistics.maximum - statistics.minimum
        reach = np.maximum(WIDENING / 2 * width, LEAST_REACH * statistics.std)
        lowest, highest = statistics.minimum - reach, statistics.maximum + reach
        broken = valid & ~np.isfinite(values)  # [case, member, node, variable]
        with np.errstate(invalid="ignore"):
            outside = (seen < lowest) | (seen > highest)
            spread = _spread(seen, valid)  # [case, member, variable]
            least, most = self._spread_bounds()
            odd = (statistics.spatial_std > 0) & ((spread < least) | (spread > most))
        faulty = alive & (broken.any(axis=(2, 3)) | outside.any(axis=(2, 3)) | odd.any(axis=2))
        stops = []
        for case, member in np.argwhere(faulty):
            at, place = (case, member), ""
            if broken[at].any():
                node, variable = np.argwhere(broken[at])[0]
                reason, place = "is not a finite number", self._place(int(node))
            elif outside[at].any():
                excess = np.where(outside[at], np.maximum(lowest - seen[at], seen[at] - highest) / reach, 0)
                node, variable = np.unravel_index(int(np.nanargmax(excess)), excess.shape)
                reason = f"is {seen[at][node, variable]:.5g}, outside {lowest[variable]:.5g} to {highest[variable]:.5g}"
                place = self._place(int(node))
            else:
                variable = int(np.argmax(odd[at]))
                ratio = spread[at][variable] / statistics.spatial_std[variable]
                reason = f"varies over the nodes {ratio:.2g} times as much as in training"
            stops.append(Stop(int(case), int(member), step, statistics.names[variable], reason, place))
        return stops

    def damped(self, values: NDArray[np.float32]) -> list[str]:
        """Return a line for each variable whose fields [case, member, node, variable] vary far less than in training.

        That is right for the mean of all that may happen, but is no state that may happen.
        """
        usual = self.statistics.spatial_std
        going_on = np.isfinite(values).any(axis=(2, 3))
        valid = np.ones(values.shape[2:], dtype=bool) if self.valid is None else self.valid
        flat = _spread(np.where(valid, values, np.nan).astype(np.float64), valid)[going_on] < LEAST_SPREAD * usual
        return [
            f"{name} varies over the nodes less than a fifth as much as in training at the end of {count} of "
            f"{len(flat)} forecasts: these are damped towards a mean, or have decayed."
            for name, count in zip(self.statistics.names, flat.sum(axis=0), strict=True)
            if count
        ]

    def _spread_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest standard deviation over the nodes, [variable] each."""
        known, usual = self.statistics, self.statistics.spatial_std
        if known.smallest_spatial_std is None or known.largest_spatial_std is None or known.mean_field_std is None:
            return np.zeros_like(usual), MOST_SPREAD[0] * usual
        no_climatology = known.mean_field_std < MEAN_FIELD_SHARE * usual
        least = LEAST_SPREAD * np.minimum(known.smallest_spatial_std, known.mean_field_std)
        most = np.maximum(MOST_SPREAD[0] * usual, MOST_SPREAD[1] * known.largest_spatial_std)
        return np.where(no_climatology, 0.0, least), most

    def _place(self, node: int) -> str:
        if self.mesh.domain.kind == "ring":
            return f"x = {node / self.mesh.num_nodes * self.mesh.domain.size:.4g}"
        return f"{self.mesh.latitudes[node]:.2f} N, {self.mesh.longitudes[node]:.2f} E"


def _spread(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation [case, member, variable] over valid nodes, unweighted as in the statistics."""
    count = valid.sum(axis=0)
    mean = np.where(valid, values, 0.0).sum(axis=2, keepdims=True) / count
    return np.sqrt(np.where(valid, (values - mean) ** 2, 0.0).sum(axis=2) / count)
