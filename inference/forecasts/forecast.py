"""Forecasts: a rollout from many initial conditions at once, guarded, step by step."""

from __future__ import annotations

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
from emulator.protocol import Emulator, rollout
from emulator.state import State, predicted_fields
from emulator.task import names_of
from graphs.available_memory import answered_out_of_memory, held_memory, readable
from graphs.errors import MeshcastError
from inference.forecasts.guard import Guard, Stop, with_starts

BATCH_VALUES = 4_000_000  # of the state that pass through the emulator at a time; activations take some hundredfold


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


def on_device(emulator: Emulator, device: str) -> Emulator:
    """Return the emulator where it is to run; raises where it, or this machine, cannot."""
    if device == "cpu":
        return emulator
    if not isinstance(emulator, torch.nn.Module):
        raise MeshcastError(f"This emulator runs on the CPU only, not on {device}: it is no torch module.")
    try:
        return emulator.to(device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise MeshcastError(f"Cannot run on --device {device}: {reason}. Use cpu, or see what torch offers.") from None


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
