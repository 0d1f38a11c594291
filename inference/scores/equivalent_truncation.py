"""Equivalent truncation: what an emulator is worth as a solver, the truncation T whose error equals the emulator's.

On smooth truth a coarse solver is a strong and cheap baseline; an RMSE alone does not say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.coarse_solver import TRUNCATION_ATTRIBUTE
from inference.scores.scorecard import ForecastScores, Verification


@dataclass(frozen=True)
class Equivalent:
    """A truncation between those of the solvers at hand, or a bound where the error is beyond theirs.

    truncation: T, a whole number for a solver, any for what lies between two.
    bound: `below` where the coarsest solver errs less, `above` where the finest one errs more.
    """

    truncation: float
    bound: str = ""

    def __str__(self) -> str:
        if not np.isfinite(self.truncation):
            return "–"
        return f"{self.bound} T{self.truncation:.0f}" if self.bound else f"T{self.truncation:.1f}"


def equivalent(error: float, solvers: Mapping[int, float]) -> Equivalent:
    """Return the truncation with this error, the logarithm of the solvers' errors taken as linear between neighbours.

    solvers: error by truncation. Where they do not fall throughout, the finest pair that encloses the error counts.
    """
    known = sorted((truncation, found) for truncation, found in solvers.items() if np.isfinite(found))
    if not known or not np.isfinite(error):
        return Equivalent(np.nan)
    for (coarse, larger), (fine, smaller) in reversed(list(pairwise(known))):
        if larger >= error >= smaller and larger > smaller:
            if error <= 0 or smaller <= 0:
                return Equivalent(float(fine))
            share = np.log(larger / error) / np.log(larger / smaller)
            return Equivalent(coarse + share * (fine - coarse))
    if error <= known[-1][1]:
        return Equivalent(known[-1][0], "" if error == known[-1][1] else "above")
    return Equivalent(known[0][0], "" if error == known[0][1] else "below")


def equivalents(verification: Verification) -> dict[str, dict[int, Equivalent]]:
    """Return truncations by label and lead step of emulators that are no solvers; none with fewer than two solvers."""
    truncations = solver_truncations(verification)
    if len(set(truncations.values())) < 2:
        return {}
    errors = {}
    for emulator in verification.emulators:
        by_lead = relative_error(verification, emulator).tolist()
        errors[emulator.label] = dict(zip(emulator.lead_steps.tolist(), by_lead, strict=True))
    found: dict[str, dict[int, Equivalent]] = {label: {} for label in errors if label not in truncations}
    for label, by_step in found.items():
        for step, error in errors[label].items():
            solvers = {t: errors[solver][step] for solver, t in truncations.items() if step in errors[solver]}
            by_step[step] = equivalent(error, solvers)
    return found


def solver_truncations(verification: Verification) -> dict[str, int]:
    """Return the truncation by label, of the forecasts of solvers; what is no number in a file is none's."""
    found = {e.label: e.attributes.get(TRUNCATION_ATTRIBUTE, "") for e in verification.emulators}
    return {label: int(text) for label, text in found.items() if text.isdecimal() and len(text) < 6}


def relative_error(verification: Verification, emulator: ForecastScores) -> NDArray[np.float64]:
    """Return the root mean square over variables of RMSE over the truth's standard deviation, [lead]."""
    return np.asarray(np.sqrt(np.mean((emulator.mean("rmse") / verification.scale) ** 2, axis=-1)))
