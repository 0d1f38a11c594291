"""Sentences say what a comparison found: which row is best, how sure that is, and how the rows differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.comparison import seed_bootstrap
from inference.comparison.record import Comparison, Row
from inference.report.score_tables import sentence


def answer(comparison: Comparison) -> str:
    """Return which row is best by which score, against which next best, and how sure that is."""
    ranked, score = _scored(comparison), f"{score_name(comparison)} over lead times"
    if not ranked:
        return "No row has a finite score."
    best = ranked[0]
    found = f"{sentence(best.label)} is best by {score}, {best.score.value:.3g}"
    if len(ranked) == 1:
        return f"{found}; no other row has a finite score."
    second, alpha = ranked[1], 1 - comparison.verification.level
    ratio = comparison.scores.ranking_ratio(second.label, best.label)
    times = float(ratio.value)
    more = f"{times:.3g} times that" if times >= 2 else f"{100 * (times - 1):.2g} % more"
    found += f", and {second.label} is next with {more}"
    if not np.isfinite(ratio.p):
        return f"{found}; there are too few starts to say how sure that is."
    return f"{found}, a difference that is {'' if ratio.p < alpha else 'not '}significant (p = {float(ratio.p):.2g})."


def findings(comparison: Comparison) -> list[str]:
    """Return who is not clearly worse than the best, who is clearly below and above the reference, and who was lost."""
    ranked, alpha = _scored(comparison), 1 - comparison.verification.level
    reference = comparison.reference
    items = []
    ratios = {row.label: comparison.scores.ranking_ratio(row.label, ranked[0].label) for row in ranked[1:]}
    if alike := [label for label, ratio in ratios.items() if not ratio.p < alpha]:
        items.append(f"Not significantly above {ranked[0].label}: {', '.join(alike)}.")
    if len(ranked) > 1 and reference in [row.label for row in ranked]:
        clear = [row for row in ranked if row.score.p is not None and row.score.p < alpha]
        for side, below in (("below", True), ("above", False)):
            labels = [row.label for row in clear if ((row.score.ratio or 0.0) < 1) == below]
            items.append(f"Significantly {side} {reference}: {', '.join(labels) or 'none'}.")
    lost = [row for row in comparison.rows if row.status not in ("done", "loaded")]
    return items + [f"{row.label} {row.status}{': ' * bool(row.reasons)}{'; '.join(row.reasons)}." for row in lost]


def score_name(comparison: Comparison) -> str:
    """Return what is averaged over lead times to rank the rows."""
    return "nRMSE" if comparison.scores.kind == "nrmse" else "RMSE over the truth's standard deviation"


def about_intervals(comparison: Comparison) -> list[str]:
    """Return what the intervals of the ranking hold for, a sentence for each number of seeds."""
    level, rows = comparison.verification.level, [row for row in comparison.rows if row.forecast_seeds]
    counts = {len(row.forecast_seeds) for row in rows if row.seed_numbers}
    sentences = [seed_bootstrap.describe(count, level) for count in sorted(counts)]
    if any(not row.seed_numbers for row in rows):
        sentences.append("Closed forms, checkpoints and forecast files have one set of weights; starts alone vary.")
    return sentences


def alike(rows: Sequence[Row]) -> list[str]:
    """Return what all rows share of history and updates, or that they differ."""
    histories = {row.history for row in rows if row.history is not None}
    updates = {row.updates for row in rows if row.updates is not None}
    same, differ = "History: {} frame(s) for all rows that have one.", "History differs between rows: {} frames."
    sentences = [(same if len(histories) == 1 else differ).format(these(histories))]
    if updates:
        same, differ = "Updates: {} for all trained rows.", "Updates differ between rows: {}."
        sentences.append((same if len(updates) == 1 else differ).format(these(updates)))
    return sentences


def these(numbers: set[int]) -> str:
    """Return the numbers in order, as `1, 2, 1,000`."""
    return ", ".join(f"{number:,}" for number in sorted(numbers)) or "none"


def _scored(comparison: Comparison) -> list[Row]:
    return [row for row in comparison.ranked if row.score.value is not None]
