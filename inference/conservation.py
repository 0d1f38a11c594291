"""What a forecast keeps and what it loses: area mean and mean square along the lead time."""

from __future__ import annotations

import torch
from torch import Tensor

from emulator.scores import weighted_mean


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
