"""Conservation: how the area mean and the mean square of a forecast change along the lead time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.forcings import ForcingWindows
from emulator.protocol import Emulator, rollout
from emulator.scores import weighted_mean
from emulator.state import State


def area_mean(fields: Tensor, areas: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the area mean [..., variable] in float64 of fields [..., node, variable]: what a flux form conserves.

    known: [node, variable] leaves masked nodes out.
    """
    fields = fields.double()
    if known is None or bool(known.all()):  # which saves the masked sums
        return weighted_mean(fields, areas)
    return weighted_mean(fields, areas, known.expand(fields.shape))


def mean_drift(ensemble: Tensor, initial: Tensor, areas: Tensor, known: Tensor) -> Tensor:
    """Return the change of the area mean since the initial time, a member's on average: [case, lead, variable]."""
    return area_mean(ensemble, areas, known).mean(2) - area_mean(initial, areas, known)[:, None]


def mean_square_drift(ensemble: Tensor, initial: Tensor, areas: Tensor, known: Tensor) -> Tensor:
    """Return the change of the mean square, which stands for the energy, over its initial value."""
    start = area_mean(initial.double().square(), areas, known)[:, None]
    return (area_mean(ensemble.double().square(), areas, known).mean(2) - start) / start


def truth_mean_drift(truth: Tensor, initial: Tensor, areas: Tensor, known: Tensor) -> Tensor:
    """Return the drift of the truth's area mean."""
    return mean_drift(truth.unsqueeze(2), initial, areas, known)


def truth_mean_square_drift(truth: Tensor, initial: Tensor, areas: Tensor, known: Tensor) -> Tensor:
    """Return the drift of the truth's mean square."""
    return mean_square_drift(truth.unsqueeze(2), initial, areas, known)


@torch.no_grad()
def corrections(
    emulator: Emulator, state: State, forcings: ForcingWindows, steps: int
) -> dict[str, NDArray[np.float64]]:
    """Return what conservation took off the area mean at each step [step], by conserved variable, in its unit.

    Root mean square over cases and members. Empty where nothing is conserved: a network that needs large corrections
    has not learned the conservation law, and its forecasts pay for it everywhere.
    """
    conservation = getattr(getattr(emulator, "inputs", None), "conservation", None)
    if conservation is None or not conservation.names:
        return {}
    sizes = []
    for _ in rollout(emulator, state, forcings, steps):
        assert conservation.correction is not None
        sizes.append(conservation.correction.square().mean(dim=(0, 1)).sqrt().cpu().numpy())
    return dict(zip(conservation.names, np.stack(sizes, axis=1), strict=True))
