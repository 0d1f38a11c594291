"""The implicit scheme: its order, its stability, and the iteration that finds no end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.physics.radau import RadauIIA
from graphs.errors import MeshcastError


def logistic(dt: float) -> float:
    """z' = -z + 2 z - z² = z (1 - z) from .1 to time 4."""
    scheme, z = RadauIIA(torch.ones(1, dtype=torch.float64), dt), torch.full((1, 1), 0.1, dtype=torch.float64)
    for _ in range(round(4 / dt)):
        z = scheme.stages(z, lambda stages: 2 * stages - stages**2)[-1]
    return z.item()


def test_the_error_falls_with_the_fifth_power_of_the_step() -> None:
    exact = 1 / (1 + 9 * np.exp(-4.0))
    errors = [abs(logistic(dt) - exact) for dt in (0.5, 0.25, 0.125)]
    assert np.log2(errors[0] / errors[1]) > 4.5 and np.log2(errors[1] / errors[2]) > 4.5


def test_what_decays_far_within_a_step_is_gone_after_it() -> None:
    scheme = RadauIIA(torch.tensor([1e9], dtype=torch.float64), 1.0)
    stages = scheme.stages(torch.ones(1, 1, dtype=torch.float64), torch.zeros_like)
    assert abs(stages[-1].item()) < 1e-8


def test_sources_too_steep_for_the_step_are_refused() -> None:
    scheme = RadauIIA(torch.ones(1, dtype=torch.float64), 1.0)
    with pytest.raises(MeshcastError, match="do not converge"):
        scheme.stages(torch.ones(1, 1, dtype=torch.float64), lambda stages: 100 * stages)
