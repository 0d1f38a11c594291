"""The climatology that anomalies are taken from, in whatever form it came."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.protocol import Emulator
from emulator.state import State, predicted_fields
from graphs.errors import MeshcastError

Array = NDArray[np.float64]
Climatology = Callable[[NDArray[np.int64]], NDArray[np.floating]]


def climatology_function(
    climatology: Emulator | Climatology | NDArray[np.floating] | None, variables: tuple[str, ...]
) -> Climatology | None:
    """Return the climatology, in whatever form it came, as a function of valid time."""
    if climatology is None:
        return None
    if isinstance(climatology, Emulator):
        return _Latest(partial(_forecast_climatology, climatology, variables))
    return _Latest(climatology if callable(climatology) else lambda valid_time: climatology)


class _Latest:
    """A climatology that is computed once for forecasts scored side by side."""

    def __init__(self, climatology: Climatology) -> None:
        self.climatology, self.key, self.fields = climatology, b"", np.empty(0)

    def __call__(self, valid_time: NDArray[np.int64]) -> Array:
        if (key := valid_time.tobytes()) != self.key:
            self.key, self.fields = key, np.asarray(self.climatology(valid_time), dtype=np.float64)
        return self.fields


def _forecast_climatology(emulator: Emulator, variables: tuple[str, ...], valid_time: NDArray[np.int64]) -> Array:
    """Return [time, node, variable] of a climatology, which forecasts the same from any state: here from zeros."""
    task = emulator.task
    shape = (len(valid_time), 1, task.history, emulator.mesh.num_nodes, len(task.prognostic))
    state = State(torch.zeros(shape), task.time_step.advance(valid_time, -1))
    forcing = torch.zeros(len(valid_time), task.history + 1, emulator.mesh.num_nodes, len(task.forcing))
    with torch.no_grad():
        fields = predicted_fields(emulator.step(state, forcing))
    names = [variable.name for variable in task.predicted]
    absent = [name for name in variables if name not in names]
    if absent:
        raise MeshcastError(f"The climatology has no {', '.join(absent)}; it has {', '.join(names)}.")
    return fields[:, 0][..., [names.index(name) for name in variables]].double().numpy()
