"""What an emulator is, and the one loop that rolls any of them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from emulator.forcings import ForcingWindows
from emulator.state import State
from emulator.task import Task
from graphs.mesh import Mesh


@runtime_checkable
class Emulator(Protocol):
    """Anything that advances a State: a solver, persistence, a GNN, a Keras LSTM."""

    @property
    def task(self) -> Task: ...

    @property
    def mesh(self) -> Mesh: ...

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        """Return the state one time step later, and the diagnostic variables valid then.

        state: values [batch, member, history, node, prognostic].
        forcing: [batch, history + 1, node, forcing], at the history's times and the target's.
        generator: for emulators that draw random numbers.
        Returns the next state and [batch, member, node, diagnostic], or None without diagnostics.
        """


def rollout(
    emulator: Emulator,
    state: State,
    forcings: ForcingWindows,
    steps: int | None = None,
    start: int = 0,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[State, Tensor | None]]:
    """Apply an emulator to its own output, step after step, for ever or for `steps`, in training as in forecasts.

    start: steps already done since the initial time, where a rollout is taken up again.
    """
    done = start
    while steps is None or done < start + steps:
        forcing = forcings.window(state, emulator.task, done)
        following, diagnostic = emulator.step(state, forcing, generator)
        state = following.of_trajectory(state.trajectory)
        done += 1
        yield state, diagnostic
