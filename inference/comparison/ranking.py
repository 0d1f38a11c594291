"""The ranking of a comparison: the score of each row and seed, and how they differ from the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.comparison.record import Comparison, Interval, Row, RowScore, SeedScore
from inference.comparison.row_scores import Kind, RowScores, ranking_score
from inference.scores import bootstrap
from inference.scores.scorecard import ForecastScores, Verification, common_cases


def rank(name: str, rows: Sequence[Row], verification: Verification, kind: Kind, **about: Any) -> Comparison:
    """Return the comparison of these rows with their scores, the first that forecast as the reference.

    verification: of the forecasts of all seeds, in their order.
    about: the other fields of the comparison.
    """
    emulators = iter(verification.emulators)
    members = {row.label: [next(emulators) for _ in row.forecast_seeds] for row in rows if row.forecast_seeds}
    scores, reference = RowScores(verification, members, kind), next(iter(members))
    scored = tuple(_scored(row, scores, reference) for row in rows)
    return Comparison(name, scored, reference, scores, **about)


def _scored(row: Row, scores: RowScores, reference: str) -> Row:
    if row.label not in scores.labels:
        return row
    members = iter(scores.members[row.label])
    seeds = []
    for seed in row.seeds:
        if seed.forecast is not None:
            member = next(members)
            seed = replace(seed, label=member.label, score=_of_seed(member, scores))
        seeds.append(seed)
    row = replace(row, seeds=tuple(seeds))
    return replace(row, score=_of_row(row, scores, reference))


def _of_seed(member: ForecastScores, scores: RowScores) -> SeedScore:
    verification, first = scores.verification, scores.verification.emulators[0]
    scale, kind = verification.scale, scores.kind
    draws = verification.resamples(member)
    samples = ranking_score(member, scale, kind, draws.counts)
    bounds = _pair(*bootstrap.interval(samples, draws.num_blocks, verification.level))
    score = SeedScore(_finite(ranking_score(member, scale, kind)), bounds)
    if member is first:
        return score
    one, other = common_cases(member, first)
    draws = verification.resamples(one, other)
    differences = [ranking_score(one, scale, kind, counts) - ranking_score(other, scale, kind, counts)
                   for counts in (None, draws.counts)]  # fmt: skip
    bounds = _pair(*bootstrap.interval(differences[1], draws.num_blocks, verification.level))
    return replace(score, difference=_finite(differences[0]), difference_interval=bounds)


def _of_row(row: Row, scores: RowScores, reference: str) -> RowScore:
    mean, seeds = scores.ranking(row.label), row.seed_scores
    whole = np.isfinite(seeds).all()
    score = RowScore(
        _finite(mean.value),
        _pair(mean.lower, mean.upper),
        median=float(np.median(seeds)) if whole else None,
        lowest=float(seeds.min()) if whole else None,
        highest=float(seeds.max()) if whole else None,
    )
    if row.label == reference:
        return score
    ratio, by_lead = scores.ranking_ratio(row.label, reference), scores.contrast(row.label, reference, "rmse")
    return replace(
        score,
        ratio=_finite(ratio.value),
        ratio_interval=_pair(ratio.lower, ratio.upper),
        p=_finite(ratio.p),
        better=int(by_lead.better.sum()),
        worse=int(by_lead.worse.sum()),
        compared=int(np.isfinite(by_lead.ratio.value).sum()),
    )


def _pair(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Interval | None:
    return (float(lower), float(upper)) if np.isfinite([lower, upper]).all() else None


def _finite(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
