"""Mirror symmetry: whether an emulator on a ring can tell one way round from the other."""

from __future__ import annotations

import torch

from emulator.forcings import Forcings
from emulator.protocol import Emulator, rollout
from emulator.state import State
from graphs.errors import MeshcastError


def mirrored(state: State) -> State:
    """Return the state with every node's values at the node as far from node 0 the other way round."""
    nodes = state.values.shape[3]
    return State(state.values[:, :, :, -torch.arange(nodes) % nodes], state.valid_time)


@torch.no_grad()
def mirror_difference(emulator: Emulator, state: State) -> float:
    """Return how far an emulator's change of the mirrored state is from the mirrored change, relative to the change.

        |F(M u) - M F(u)| / |F(u) - u|,   root mean squares

    Zero means that no direction is known: what such an emulator does to the right it does to the left. A mirrored
    advection moves the other way, so that advection's own value is about 2 for waves of no particular shape.
    Raises MeshcastError for an emulator that needs forcings, and on another mesh than a ring.
    """
    if emulator.mesh.domain.kind != "ring" or emulator.task.forcing:
        raise MeshcastError(
            f"Mirror symmetry is asked of an emulator on a ring without forcings, but this one is on a "
            f"{emulator.mesh.describe()} with {len(emulator.task.forcing)} forcings."
        )
    forward, other = (next(rollout(emulator, start, Forcings()))[0] for start in (state, mirrored(state)))
    change = (forward.now - state.now).square().mean().sqrt()
    departure = (other.now - mirrored(forward).now).square().mean().sqrt()
    rounding = torch.finfo(torch.float32).eps * state.now.square().mean().sqrt()  # a change that is less is none
    return float(departure / torch.maximum(change, rounding.to(change)).clamp(min=1e-30))
