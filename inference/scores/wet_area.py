"""Where it rains: the area a forecast makes wet, and how much of it is where the truth is wet.

Shares of the area are averaged over cases and members before they are divided, as contingency tables are summed
(Wilks 2011, Statistical Methods in the Atmospheric Sciences, section 8.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from emulator.foundation.variable_patterns import by_pattern
from emulator.scores import weighted_mean
from graphs.errors import MeshcastError

RATE = "kg m-2 s-1"
WET_RATE = 1.0 / 86_400  # [kg m-2 s-1], a millimetre a day


def wet_from(given: Mapping[str, float], variables: Sequence[str], units: Sequence[str]) -> Tensor | None:
    """Return from which value on a place is wet, [variable], NaN where a variable is no rain; None where none is.

    given: by a variable's name or pattern; a millimetre a day for others in kg m-2 s-1.
    Raises MeshcastError where a name is none of the variables, or a value is not positive.
    """
    named = by_pattern(given, variables, "wet")
    for name, value in named.items():
        if name not in variables:
            raise MeshcastError(f"wet names {name}, but what is verified is {', '.join(variables)}.")
        if not value > 0:
            raise MeshcastError(f"A place is wet from a positive amount on, but wet says {value:g} of {name}.")
    rates = {name: WET_RATE for name, unit in zip(variables, units, strict=True) if unit == RATE}
    known = rates | named
    if not known:
        return None
    return torch.tensor([known.get(name, torch.nan) for name in variables], dtype=torch.float64)


def wet_area_excess(ensemble: Tensor, truth: Tensor, areas: Tensor, wet: Tensor) -> Tensor:
    """Return the share of the area that a forecast makes wet less the share that is, [case, lead, variable]."""
    ours, theirs, _ = _shares(ensemble, truth, areas, wet)
    return ours - theirs


def truth_wet_area(truth: Tensor, areas: Tensor, wet: Tensor) -> Tensor:
    """Return the share of the area where the truth is wet, [case, lead, variable]."""
    return _share(truth >= wet, truth, areas, wet)


def wet_hits(ensemble: Tensor, truth: Tensor, areas: Tensor, wet: Tensor) -> Tensor:
    """Return the share of the area that is wet in forecast and truth, [case, lead, variable]."""
    return _shares(ensemble, truth, areas, wet)[2]


def wet_in_either(ensemble: Tensor, truth: Tensor, areas: Tensor, wet: Tensor) -> Tensor:
    """Return the share of the area that is wet in forecast or truth, mean over members, [case, lead, variable]."""
    ours, theirs, both = _shares(ensemble, truth, areas, wet)
    return ours + theirs - both


def _shares(ensemble: Tensor, truth: Tensor, areas: Tensor, wet: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the shares that are wet in the forecast, the truth and both, mean over members."""
    members, rained = ensemble >= wet, (truth >= wet).unsqueeze(2)
    failed = ensemble.isnan()
    ours = torch.where(failed, torch.nan, members.to(ensemble.dtype)).mean(2)
    both = torch.where(failed, torch.nan, (members & rained).to(ensemble.dtype)).mean(2)
    return (
        _share(ours, truth, areas, wet),
        truth_wet_area(truth, areas, wet),
        _share(both, truth, areas, wet),
    )


def _share(wetness: Tensor, truth: Tensor, areas: Tensor, wet: Tensor) -> Tensor:
    share = weighted_mean(wetness.to(truth.dtype), areas, ~truth.isnan())
    return torch.where(wet.isnan(), torch.nan, share)
