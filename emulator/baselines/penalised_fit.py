"""Linear regression by sums that add up, with a penalty chosen on pieces of the samples that were not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    def of_variable(self, number: int, count: int) -> Sums:
        """Return those of one of `count` variables, whose targets lie side by side."""
        return Sums(self.matrix, self.products[:, number::count], self.squares[number::count])

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.matrix + other.matrix, self.products + other.products, self.squares + other.squares)

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


@dataclass(frozen=True, eq=False)
class Penalty:
    """How much squared coefficients count, and which of them do [feature]."""

    size: float
    penalised: NDArray[np.bool_]


def chosen_penalty(pieces_of: Iterable[list[Sums]], candidates: Sequence[Penalty], areas: Array) -> Penalty:
    """Return the penalty by which the later pieces of the training times are best forecast from those before them.

    For that is what it is for: between pieces left out in turn, too small ones do well that go astray beyond them all.
    Best is the geometric mean of errors: the last piece, which lies farthest out, does not decide alone.

    pieces_of: of each bin the sums of the pieces in the order of time, targets by node. areas: [node].
    """
    if len(candidates) == 1:
        return candidates[0]
    scores = []  # [piece][candidate]
    for pieces in pieces_of:
        first = len(pieces) // 2
        seen = sum(pieces[1:first], start=pieces[0])
        for piece in pieces[first:]:
            if piece.matrix[0, 0] > 0 and seen.matrix[0, 0] > 0:
                errors = [piece.error(seen.solved(each.size, each.penalised)) for each in candidates]
                scores.append([np.log(max(float(np.nansum(areas * error)), 1e-300)) for error in errors])
            seen += piece
    found = np.array(scores)
    if not len(found):
        return candidates[-1]
    return candidates[int(found.mean(axis=0).argmin())]
