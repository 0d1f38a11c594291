"""The state: all an emulator needs to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class State:
    """Fields and their time. There is no hidden memory between steps.

    values: [batch, member, time, node, prognostic] in physical units; `time` is the history, its last is now.
    valid_time: [batch] int64 seconds since 1970 UTC of `now`, one per row, since a batch mixes initial times.
    trajectory: [batch] number of the data's trajectory that each row goes on from, whose own forcings it is under; -1
        of none, None of none at all. `rollout` hands it on from state to state.
    member is 1 without an ensemble.
    transformed: [batch, member, node, predicted] of a prediction in the units of its task's transforms, which a loss
        compares; None without, and nothing that an emulator goes on from.
    """

    values: Tensor
    valid_time: NDArray[np.int64]
    trajectory: NDArray[np.int64] | None = None
    transformed: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.values.ndim == 5, f"values must be [batch, member, time, node, prognostic], {self.values.shape}"
        assert self.valid_time.shape == (self.values.shape[0],), (self.valid_time.shape, self.values.shape)

    @property
    def now(self) -> Tensor:
        """Return the newest fields [batch, member, node, prognostic]."""
        return self.values[:, :, -1]

    def followed_by(self, values: Tensor, valid_time: NDArray[np.int64]) -> State:
        """Return the state once `values` [batch, member, node, prognostic] are now; the oldest time falls off."""
        return State(torch.cat([self.values[:, :, 1:], values.unsqueeze(2)], dim=2), valid_time, self.trajectory)

    def of_trajectory(self, trajectory: NDArray[np.int64] | None) -> State:
        """Return the same state, going on from these trajectories [batch]."""
        return self if self.trajectory is trajectory else replace(self, trajectory=trajectory)

    def rows(self, index: slice | NDArray[np.int64]) -> State:
        """Return a part of the batch."""
        chosen = index if isinstance(index, slice) else torch.as_tensor(index, device=self.values.device)
        trajectory = None if self.trajectory is None else self.trajectory[index]
        return State(self.values[chosen], self.valid_time[index], trajectory)

    def to(self, device: torch.device | str) -> State:
        """Return the same state on another device."""
        return State(self.values.to(device), self.valid_time, self.trajectory)


Step = tuple[State, Tensor | None]  # the next state, and the diagnostic variables [batch, member, node, diagnostic]


def predicted_fields(step: Step) -> Tensor:
    """Return what a step predicts, prognostic and then diagnostic variables, [batch, member, node, predicted]."""
    following, diagnostic = step
    return following.now if diagnostic is None else torch.cat([following.now, diagnostic], dim=-1)
