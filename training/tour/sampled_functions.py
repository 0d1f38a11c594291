"""Functions sampled with noise: what small networks learn to draw, and to tell apart."""

from __future__ import annotations

import torch
from torch import Tensor

KINDS = ("sine-like", "Gaussian", "polynomial", "square wave")
NUM_SAMPLES = 50
DEGREE = 3  # of the polynomials


def two_waves(points: Tensor) -> Tensor:
    """[point, 1] of f(x) = sin 2πx + 0.3 sin 6πx; points [point, 1] in [0, 1]."""
    return torch.sin(2 * torch.pi * points) + 0.3 * torch.sin(6 * torch.pi * points)


def decaying_wave(points: Tensor, speed: float = 1.0, diffusivity: float = 0.02) -> Tensor:
    """[point, 1] of f(x, t) = sin(2π (x - c t)) exp(-4π² ν t), which solves u_t + c u_x = ν u_xx.

    points: [point, 2], x and t in [0, 1].
    """
    x, t = points[:, :1], points[:, 1:]
    return torch.sin(2 * torch.pi * (x - speed * t)) * torch.exp(-4 * torch.pi**2 * diffusivity * t)


def random_points(count: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """[point, dimension], uniform in the unit cube."""
    return torch.rand(count, dimensions, generator=generator)


def grid_points(count: int, dimensions: int) -> Tensor:
    """[point, dimension], `count` along each dimension of the unit cube, its ends included."""
    axes = [torch.linspace(0.0, 1.0, count)] * dimensions
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], dim=1)


def with_noise(values: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Values and independent normal noise of a standard deviation, in their units."""
    return values + deviation * torch.randn(values.shape, generator=generator, dtype=values.dtype)


def sample_points() -> Tensor:
    """[sample], where `random_functions` are sampled."""
    return torch.linspace(-1.0, 1.0, NUM_SAMPLES)


def random_functions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """[function, sample] without noise, of amplitude one, at 50 even points of [-1, 1]; and which of `KINDS` each is.

    Sine-like: sin(π f x + φ), 1.5 to 4 waves on the interval. Gaussian: ± exp(-(x - c)² / 2 s²), c in [-0.6, 0.6], s in
    [0.08, 0.25]. Polynomial: of degree 3, its coefficients of Legendre's polynomials normal, divided by its largest
    value. Square wave: the sign of such a sine.
    """
    x = sample_points()
    kinds = torch.randint(len(KINDS), (count,), generator=generator)
    drawn = torch.rand(count, 3, 1, generator=generator)
    sine = torch.sin(torch.pi * (1.5 + 2.5 * drawn[:, 0]) * x + 2 * torch.pi * drawn[:, 1])
    centre, width = 1.2 * drawn[:, 0] - 0.6, 0.08 + 0.17 * drawn[:, 1]
    bump = torch.exp(-((x - centre) ** 2) / (2 * width**2)) * (drawn[:, 2] - 0.5).sign()
    coefficients = torch.randn(count, DEGREE, generator=generator)
    legendre = torch.stack([x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2])
    polynomial = coefficients @ legendre
    polynomial = polynomial / polynomial.abs().amax(dim=1, keepdim=True)
    every = torch.stack([sine, bump, polynomial, torch.where(sine >= 0, 1.0, -1.0)], dim=1)
    return every[torch.arange(count), kinds], kinds
