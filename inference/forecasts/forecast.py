"""Forecasts: a rollout from many initial conditions at once, guarded, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.coarse_solver import solver_attributes
from emulator.build import TrainedEmulator
from emulator.data.forecast import Forecast
from emulator.data.starts import InitialConditions
from emulator.forcings import ForcingWindows
from emulator.protocol import Emulator, rollout
from emulator.state import State
from emulator.task import names_of
from inference.forecasts.guard import Guard, Stop

BATCH_VALUES = 4_000_000  # of the state that pass through the emulator at a time; activations take some hundredfold


@dataclass(eq=False)
class GuardedRollout:
    """A rollout of many cases and members, in which each member that the guard stops turns to NaN.

    A case is computed for as long as one of its members goes on. That it leaves its batch changes the others by no more
    than the rounding of matrix products, which may depend on the number of rows.

    state: the initial states, [case, member, history, node, prognostic].
    guard: None leaves every member alone, as a comparison of baselines does.
    start: steps already done, where a forecast is taken up again.
    alive: [case, member] which have not been stopped; stops: why the others were.
    """

    emulator: Emulator
    state: State
    forcings: ForcingWindows
    guard: Guard | None = None
    start: int = 0
    generator: torch.Generator | None = None
    alive: NDArray[np.bool_] = field(init=False)
    stops: list[Stop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alive = np.isfinite(self.state.now.cpu().numpy()).any(axis=(2, 3))  # NaN throughout: stopped before

    @torch.no_grad()
    def steps(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Yield `count` more steps [case, member, node, predicted], fewer where every member has been stopped."""
        shape = (*self.alive.shape, self.emulator.mesh.num_nodes, len(self.emulator.task.predicted))
        size = max(1, BATCH_VALUES // self.state.values[0].numel())
        cases = np.arange(len(self.alive))
        batches = [self._batch(cases[first : first + size]) for first in range(0, len(cases), size)]
        for step in range(self.start + 1, self.start + count + 1):
            if not self.alive.any():
                return
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

    def _batch(self, cases: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield the `cases` that go on and their fields [case, member, node, predicted], step after step."""
        state, done = self.state.rows(cases), self.start
        while (going_on := self.alive[cases].any(axis=1)).any():
            cases, state = cases[going_on], state.rows(np.flatnonzero(going_on))
            steps = rollout(self.emulator, state, self.forcings.rows(cases), None, done, self.generator)
            for state, diagnostic in steps:
                done += 1
                yield cases, state.now if diagnostic is None else torch.cat([state.now, diagnostic], dim=-1)
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
    return State(values, state.valid_time)


def forecast(
    trained: TrainedEmulator,
    initial: InitialConditions,
    forcings: ForcingWindows,
    steps: int,
    guard: Guard | None = None,
) -> tuple[Forecast, list[Stop]]:
    """Return a forecast kept in memory; see `write_forecast` for one kept in a file."""
    emulator, state = trained.emulator, initial.state
    predicted = emulator.task.predicted
    shape = (*state.values.shape[:2], steps, emulator.mesh.num_nodes, len(predicted))
    values = np.full(shape, np.nan, dtype=np.float32)
    rolled = GuardedRollout(emulator, state, forcings, guard)
    for step, fields in enumerate(rolled.steps(steps)):
        values[:, :, step] = fields
    result = Forecast(
        name=trained.name,
        values=values,
        variables=names_of(predicted),
        units=tuple(variable.units for variable in predicted),
        mesh=emulator.mesh,
        time_step=emulator.task.time_step,
        init_time=state.valid_time,
        trajectory=initial.trajectory,
        lead_steps=np.arange(1, steps + 1),
        attributes={**initial.attributes, **solver_attributes(trained.config)},
    )
    return result, rolled.stops
