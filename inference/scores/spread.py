"""Ensembles whose members have collapsed onto each other: their spread says nothing of the error any more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from inference.scores.scorecard import Verification

LEAST_SPREAD = 0.01  # of the error; a reliable ensemble has about one (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1)


def collapsed(verification: Verification) -> list[str]:
    """Return a sentence for each ensemble whose spread falls below a hundredth of its error, and where it does."""
    sentences = []
    for emulator in verification.emulators:
        if "spread" not in emulator.metrics or emulator.member_mse is None:
            continue
        spread, error = emulator.mean("spread"), emulator.mean("rmse")  # [lead, variable]
        with np.errstate(invalid="ignore"):
            narrow: NDArray[np.bool_] = (spread < LEAST_SPREAD * error) & (error > ROUNDING * verification.magnitude)
        if narrow.any():
            names = [verification.variables[column] for column in np.flatnonzero(narrow.any(axis=0))]
            leads = emulator.lead_steps[narrow.any(axis=1)]
            (first,), unit = verification.time_step.lead_times(leads[:1])
            sentences.append(
                f"The {emulator.member_mse.shape[1]} members of {emulator.label} have collapsed onto each other: their "
                f"spread is below {100 * LEAST_SPREAD:g} % of their error in {', '.join(names)} at {len(leads)} of "
                f"{len(emulator.lead_steps)} lead times, the first of them {f'{first:g} {unit}'.strip()}."
            )
    return sentences
