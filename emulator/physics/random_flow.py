"""Random vorticity between two degrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emulator.physics.shallow_water import ShallowWater
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees


def random_vorticity(
    degrees: tuple[int, int], equation: ShallowWater, generators: Sequence[np.random.Generator]
) -> Tensor:
    """Return independent normal coefficients [order, offset, trajectory], alike at all degrees, one generator each.

    degrees: lowest and highest. Raises MeshcastError where the equation's truncation is below the highest.
    """
    lowest, highest = degrees
    truncation = equation.config.truncation
    if highest > truncation:
        raise MeshcastError(
            f"Degrees {lowest} to {highest} do not fit T{truncation}; choose degrees up to {truncation}."
        )
    # drawn in the layout of the highest degree, so that every truncation has the same flow
    draws = np.stack([generator.standard_normal((highest + 1, highest + 1, 2)) for generator in generators], axis=2)
    coefficients = draws[..., 0] + 1j * draws[..., 1]  # [order, offset, trajectory]
    coefficients[0] = np.sqrt(2.0) * coefficients[0].real  # as much variance as the orders that have two parts
    degree = Degrees(highest).degree
    coefficients *= ((degree >= lowest) & (degree <= highest))[..., None]
    width = truncation - highest
    padded = torch.from_numpy(np.pad(coefficients, ((0, width), (0, width), (0, 0))))
    return padded.to(equation.transform.device, equation.transform.dtype.to_complex())
