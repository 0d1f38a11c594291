"""What a forecast keeps and what it loses: area mean and mean square along the lead time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.forcings import ForcingWindows
from emulator.protocol import Emulator, rollout
from emulator.scores import weighted_mean
from emulator.state import State


def area_integrals(fields: Tensor, areas: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    """`mean` and `mean_square` over the area, [..., variable] in float64, of fields [..., node, variable].

    The mean is the conserved integral of an equation in flux form; the mean square stands for its energy. `valid`
    [node, variable] leaves masked nodes out.
    """
    fields = fields.to(torch.float64)
    if valid is not None:
        valid = valid.expand(fields.shape)
    return {"mean": weighted_mean(fields, areas, valid), "mean_square": weighted_mean(fields.square(), areas, valid)}


def drift(series: Tensor, initial: Tensor) -> Tensor:
    """Change of a series [case, lead, variable] since the initial time [case, variable]."""
    return series - initial[:, None]


def relative_drift(series: Tensor, initial: Tensor) -> Tensor:
    """Change of a series [case, lead, variable] since the initial time [case, variable], over its value then."""
    return drift(series, initial) / initial[:, None]


@torch.no_grad()
def corrections(
    emulator: Emulator, state: State, forcings: ForcingWindows, steps: int
) -> dict[str, NDArray[np.float64]]:
    """By conserved variable, what conservation took off the area mean at each step [step], in physical units.

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
