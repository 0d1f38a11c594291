"""Spherical harmonics: the functions, the layout of their coefficients, and power by degree.

A field is f(λ, μ) = Σ_m Σ_l f_lm P_lm(μ) e^{imλ}, μ = sin(latitude), with (1/2) ∫ P_lm² dμ = 1. The f_00 is then the
area mean, and the area mean of f² is Σ_l |f_l0|² + 2 Σ_{m>0} |f_lm|². Fields are real, so only m >= 0 is kept.

Coefficients are complex [order, offset, ...]: order m = 0 ... T, offset k = l - m = 0 ... T; those with l > T are zero.
In this layout even and odd offsets are the parts symmetric and antisymmetric about the equator, for every order alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphs.geometry import Array, Index, Mask


def legendre(mu: Array, truncation: int, offsets: int | None = None, cosine: Array | None = None) -> Array:
    """Return associated Legendre functions P_lm(μ) [point, order, offset], normalised as above, without the (-1)^m.

    By the recurrence in l at fixed m (Belousov 1962; Press et al., Numerical Recipes, 3rd ed., eq. 6.7.9), which is
    stable up to degrees of some hundreds in float64.

    offsets: how many offsets to return, `truncation + 1` by default.
    cosine: cos(latitude), where it is known better than sqrt(1 - μ²), as beside a pole.
    """
    offsets = truncation + 1 if offsets is None else offsets
    mu = np.asarray(mu, np.float64)
    cosine = np.sqrt(np.maximum(0.0, 1.0 - mu**2)) if cosine is None else cosine
    table = np.zeros((mu.size, truncation + 1, offsets))
    diagonal = np.ones(mu.size)
    for m in range(truncation + 1):
        if m:
            diagonal = diagonal * cosine * np.sqrt((2 * m + 1) / (2 * m))
        table[:, m, 0] = diagonal
        if offsets > 1:
            table[:, m, 1] = np.sqrt(2 * m + 3.0) * mu * diagonal
        for k in range(2, offsets):
            low, high = epsilon(m + k - 1.0, m), epsilon(float(m + k), m)
            table[:, m, k] = (mu * table[:, m, k - 1] - low * table[:, m, k - 2]) / high
    return table


def epsilon(degree: float | Array, order: int | Array) -> float | Array:
    """Return ε_lm = sqrt((l² - m²) / (4 l² - 1)): μ P_lm = ε_{l+1,m} P_{l+1,m} + ε_lm P_{l-1,m}."""
    return np.sqrt(np.maximum(degree**2 - order**2, 0.0) / (4.0 * degree**2 - 1.0))


@dataclass(frozen=True)
class Degrees:
    """The indices of triangular truncation T, the highest degree and order, in the layout [order, offset]."""

    truncation: int

    @property
    def order(self) -> Index:
        """Return the orders [order, 1]."""
        return np.arange(self.truncation + 1)[:, None]

    @property
    def degree(self) -> Index:
        """Return the degrees [order, offset], beyond T where a place is unused."""
        return self.order + np.arange(self.truncation + 1)[None]

    @property
    def kept(self) -> Mask:
        """Return [order, offset] whether l <= T."""
        return self.degree <= self.truncation

    @property
    def multiplicity(self) -> Array:
        """Return the multiplicity [order, offset]: 1 for m = 0, 2 beyond (its conjugate counts too), 0 where unused."""
        return np.where(self.order == 0, 1.0, 2.0) * self.kept


def power_by_degree(coefficients: Tensor) -> Tensor:
    """Return the area mean [degree, ...] of the square, by degree, of coefficients [order, offset, ...]."""
    truncation = coefficients.shape[0] - 1
    degrees = Degrees(truncation)
    share = torch.as_tensor(degrees.multiplicity, device=coefficients.device)
    square = coefficients.abs().square()
    square = square * share.to(square.dtype).reshape(share.shape + (1,) * (square.ndim - 2))
    total = square.new_zeros(2 * truncation + 1, *square.shape[2:])
    index = torch.as_tensor(degrees.degree.ravel(), device=coefficients.device)
    return total.index_add_(0, index, square.flatten(0, 1))[: truncation + 1]


def truncated(coefficients: Tensor, truncation: int) -> Tensor:
    """Return the same field in the layout of another truncation, cut off or padded with zeros."""
    more = max(0, truncation + 1 - coefficients.shape[0])
    wide = torch.nn.functional.pad(coefficients, (0, 0) * (coefficients.ndim - 2) + (0, more, 0, more))
    kept = torch.as_tensor(Degrees(truncation).kept, device=wide.device)
    return wide[: truncation + 1, : truncation + 1] * kept.reshape(kept.shape + (1,) * (wide.ndim - 2))


def real_basis(positions: Array, truncation: int) -> Array:
    """Return the kept harmonics [node, coefficient * 2], real, then imaginary parts, which are zero at order zero."""
    degrees = Degrees(truncation)
    cosine = np.hypot(positions[:, 0], positions[:, 1])
    table = legendre(positions[:, 2], truncation, cosine=cosine) * degrees.multiplicity
    angle = np.arctan2(positions[:, 1], positions[:, 0])[:, None, None] * degrees.order
    kept = degrees.kept
    return np.concatenate([(table * np.cos(angle))[:, kept], (-table * np.sin(angle))[:, kept]], axis=1)


def orthonormal_basis(positions: Array, truncation: int) -> tuple[Array, Array]:
    """Return real harmonics [node, coefficient], of area mean square one, and their degrees; zonal ones come first."""
    degrees = Degrees(truncation)
    degree, order = (
        np.tile(np.broadcast_to(each, degrees.kept.shape)[degrees.kept], 2) for each in (degrees.degree, degrees.order)
    )
    real = (np.arange(len(order)) < len(order) // 2) | (order > 0)  # a zonal one has no imaginary part
    size = np.where(order > 0, np.sqrt(2.0), 1.0)
    return (real_basis(positions, truncation) / size)[:, real], degree[real].astype(np.float64)
