"""Linear regression by sums that add up, with a penalty chosen on pieces of the samples that were not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Normal equations: features by features, features by targets, targets squared; of nodes without values NaN."""

    matrix: Array
    products: Array
    squares: Array

    @classmethod
    def zero(cls, features: int, targets: int) -> Sums:
        return cls(np.zeros((features, features)), np.zeros((features, targets)), np.zeros(targets))

    @classmethod
    def of(cls, features: Array, targets: Array) -> Sums:
        return cls(features.T @ features, features.T @ targets, (targets**2).sum(axis=0))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.matrix + other.matrix, self.products + other.products, self.squares + other.squares)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.matrix - other.matrix, self.products - other.products, self.squares - other.squares)

    def solved(self, penalty: float, penalised: NDArray[np.bool_]) -> Array:
        """Return coefficients [feature, target]; those of directions that no sample tells of are zero."""
        count = self.matrix[0, 0]
        variance = np.maximum(np.diag(self.matrix) / count - (self.matrix[0] / count) ** 2, 0.0)
        held = self.matrix + np.diag(penalty * count * variance * penalised)
        scale = np.sqrt(np.maximum(np.diag(held), 1e-300))
        return np.asarray(
            np.linalg.pinv(held / np.outer(scale, scale), rcond=1e-12)
            @ (self.products / scale[:, None])
            / scale[:, None]
        )

    def error(self, weights: Array) -> Array:
        """Return the summed squared error [target] of coefficients [feature, target]."""
        return (
            self.squares - 2 * (weights * self.products).sum(axis=0) + (weights * (self.matrix @ weights)).sum(axis=0)
        )


def chosen_penalty(
    sums: dict[int, list[Sums]], penalties: tuple[float, ...], penalised: NDArray[np.bool_], areas: Array
) -> float:
    """Return the penalty by which pieces of the training times are best forecast from the others.

    Best is the geometric mean of their errors: the last piece, which lies beyond the others, does not decide alone.
    """
    if len(penalties) == 1:
        return penalties[0]
    scores = []
    for penalty in penalties:
        score = 0.0
        for pieces in sums.values():
            total = sum(pieces[1:], start=pieces[0])
            variance = np.maximum(
                total.squares / total.matrix[0, 0] - (total.products[0] / total.matrix[0, 0]) ** 2, 1e-300
            )
            by_variable = np.nanmean(variance.reshape(len(areas), -1), axis=0)
            for piece in pieces:
                seen = total - piece
                if piece.matrix[0, 0] == 0 or seen.matrix[0, 0] == 0:
                    continue
                error = piece.error(seen.solved(penalty, penalised)).reshape(len(areas), -1) / by_variable
                score += float(np.log(max(np.nansum(areas[:, None] * error), 1e-300)))
        scores.append(score)
    return penalties[int(np.argmin(scores))]
