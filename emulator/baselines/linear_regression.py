"""Linear regression from sums over rows: many rows in, one pass, any penalty and any choice of features after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The sums that linear regression needs, float64. `group` is 1, or one a target once targets lack different rows.

    count: [group] rows.
    feature_sum: [group, feature]; target_sum: [target].
    gram: [group, feature, feature], Σ x xᵀ; cross: [feature, target], Σ x y.
    """

    count: Tensor
    feature_sum: Tensor
    gram: Tensor
    target_sum: Tensor
    cross: Tensor

    @classmethod
    def zero(cls, num_features: int, num_targets: int) -> NormalEquations:
        shapes = (1,), (1, num_features), (1, num_features, num_features), (num_targets,), (num_features, num_targets)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def with_rows(self, features: Tensor, targets: Tensor) -> NormalEquations:
        """Return the sums with rows [..., feature] and [..., target]; a target of NaN leaves out its row for itself."""
        x = features.detach().reshape(-1, features.shape[-1]).double()
        y = targets.detach().reshape(-1, targets.shape[-1]).double()
        there = ~torch.isnan(y)
        rows = there.any(dim=1)
        if not bool(rows.all()):  # rows without any target need not be looked at again
            x, y, there = x[rows], y[rows], there[rows]
        y = torch.where(there, y, 0.0)
        masks = torch.ones(1, len(x), dtype=torch.bool) if bool(there.all()) else there.T
        parts = [x if bool(mask.all()) else x[mask] for mask in masks]
        return self + NormalEquations(
            count=torch.tensor([float(len(part)) for part in parts], dtype=torch.float64),
            feature_sum=torch.stack([part.sum(dim=0) for part in parts]),
            gram=torch.stack([part.T @ part for part in parts]),
            target_sum=y.sum(dim=0),
            cross=x.T @ y,
        )

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def select(self, features: Tensor) -> NormalEquations:
        """Return the same sums for some of the features, given by index."""
        gram = self.gram[:, features][:, :, features]
        return NormalEquations(self.count, self.feature_sum[:, features], gram, self.target_sum, self.cross[features])

    def solve(self, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return weights [penalty, feature, target] and intercepts [penalty, target] that minimise

            mean (y − b − w·x)² + penalty · |w|²

        The intercept is not penalised. One eigendecomposition serves all penalties; directions the rows do not span get
        weight zero, so that penalty 0 gives the solution of least norm.
        """
        alone = len(self.count) == 1
        groups = [slice(None) if alone else slice(target, target + 1) for target in range(len(self.count))]
        solutions = [self._solve_group(group, targets, penalties) for group, targets in enumerate(groups)]
        weights, intercepts = zip(*solutions, strict=True)
        return torch.cat(weights, dim=-1), torch.cat(intercepts, dim=-1)

    def _solve_group(self, group: int, targets: slice, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
        count = self.count[group].clamp(min=1.0)
        mean_x, mean_y = self.feature_sum[group] / count, self.target_sum[targets] / count
        covariance = self.gram[group] / count - torch.outer(mean_x, mean_x)
        cross = self.cross[:, targets] / count - torch.outer(mean_x, mean_y)
        eigenvalues, vectors = torch.linalg.eigh(covariance)
        spanned = eigenvalues > eigenvalues[-1].clamp(min=0.0) * len(eigenvalues) * torch.finfo(torch.float64).eps
        projected = torch.where(spanned[:, None], vectors.T @ cross, 0.0)
        divisors = torch.where(spanned, eigenvalues, 1.0)
        weights = torch.stack([vectors @ (projected / (divisors + penalty)[:, None]) for penalty in penalties])
        return weights, mean_y - torch.einsum("f,pft->pt", mean_x, weights)
