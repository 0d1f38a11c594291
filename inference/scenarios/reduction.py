"""A climate in a few numbers a cell, so that a page can evaluate a pathway that somebody draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from emulator.pathways.pathway import PRESENT
from inference.scenarios.scenario import Scenario

Array = NDArray[np.float64]
FAST, SLOW = (2.0, 4.0, 8.0), (60.0, 120.0, 220.0, 400.0)  # years to choose from
PENALTY = 1e-6  # on scaled features, against directions that no pathway tells of
FEWEST = 2  # pathways, of which one is left out to see how far the others tell it


@dataclass(frozen=True, eq=False)
class Reduction:
    """Changes as c₀ + c₁ f + c₂ s + c₃ f² + c₄ f s, f and s the total forcing as remembered for a few and many years.

    It serves for the difference of a pathway from the first, whose changes are known.

    years: of the two memories. weights: [feature, node]. error: root of the mean, over area and years, of squared error
    for a pathway that was left out, the largest of all [units of the variable]. low, high: ends of the forcings from
    now on.
    """

    years: tuple[float, float]
    weights: Array
    error: float
    low: float
    high: float


def reduced(scenarios: Sequence[Scenario], changes: Array) -> Reduction | None:
    """Return the reduction of scenarios and their changes [pathway, year, node]; None of fewer than two pathways."""
    if len(scenarios) < FEWEST:
        return None
    first = np.unique(scenarios[0].years)
    forcing = [one.pathway.mean().total[0] for one in scenarios]
    rows = [first - int(one.pathway.years[0]) for one in scenarios]
    areas = np.where(scenarios[0].there, scenarios[0].mesh.areas, 0.0)
    means = np.nan_to_num(changes) @ areas / areas.sum()
    best = (np.inf, (FAST[0], SLOW[0]))
    for memories in product(FAST, SLOW):
        features = [features_of(series, memories)[row] for series, row in zip(forcing, rows, strict=True)]
        fitted = _fit(np.concatenate(features), means.reshape(-1, 1))
        best = min(best, (float(np.square(np.concatenate(features) @ fitted - means.reshape(-1, 1)).mean()), memories))
    features = [features_of(series, best[1])[row] for series, row in zip(forcing, rows, strict=True)]
    changes = np.nan_to_num(changes)
    errors = []
    for out in range(1, len(scenarios)):
        seen = [place for place in range(len(scenarios)) if place != out]
        weights = _fit(np.concatenate([features[place] for place in seen]), np.concatenate(changes[seen]))
        found = changes[0] + (features[out] - features[0]) @ weights
        errors.append(float(np.sqrt(np.square(found - changes[out]).mean(axis=0) @ areas / areas.sum())))
    weights = _fit(np.concatenate(features), np.concatenate(changes))
    given = np.concatenate([series[row[first >= PRESENT]] for series, row in zip(forcing, rows, strict=True)])
    given = given if len(given) else np.concatenate(forcing)
    return Reduction(best[1], weights, max(errors), float(given.min()), float(given.max()))


def features_of(forcing: Array, years: tuple[float, float]) -> Array:
    """Return [year, feature] of a forcing [year], the same throughout each year, from balance with the first."""
    fast, slow = (_remembered(forcing, memory) for memory in years)
    return np.stack([np.ones_like(fast), fast, slow, fast**2, fast * slow], axis=1)


def _remembered(forcing: Array, years: float) -> Array:
    """Return the mean over each year of the exponential filter of a forcing [year]."""
    kept = np.exp(-1.0 / years)
    now, found = forcing[0], np.empty_like(forcing)
    for year, value in enumerate(forcing):
        found[year] = value + (now - value) * years * (1 - kept)
        now = value + (now - value) * kept
    return found


def _fit(features: Array, targets: Array) -> Array:
    scale = np.maximum(np.sqrt(np.square(features).mean(axis=0)), 1e-12)
    scaled = features / scale
    matrix = scaled.T @ scaled + PENALTY * len(scaled) * np.eye(scaled.shape[1])
    return np.asarray(np.linalg.solve(matrix, scaled.T @ targets) / scale[:, None], np.float64)
