"""Random initial states on a ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True)
class RandomFourierSeries:
    """u(x) = sum_k A_k sin(2 pi k x / L + phi_k), A_k uniform in [-1, 1], phi_k in [0, 2 pi), divided by max|u|.

    APEBench's `fourier;5;true;true` (Koehler et al. 2024, arXiv:2411.00180): smooth, of mean zero, largest value one.
    num_modes: k runs from 1 to this.
    """

    kind: Literal["fourier"] = "fourier"
    num_modes: int = 5


def initial_states(config: RandomFourierSeries, mesh: Mesh, count: int, generator: torch.Generator) -> Tensor:
    """Return states [count, node] in float64; the same draw on two rings is the same series."""
    if not 1 <= config.num_modes <= (mesh.num_nodes - 1) // 2:
        raise MeshcastError(
            f"num_modes must be between 1 and {(mesh.num_nodes - 1) // 2} on a {mesh.describe()}, "
            f"but is {config.num_modes}."
        )
    draws = torch.rand(count, 2, config.num_modes, dtype=torch.float64, generator=generator)
    amplitude, phase = 2 * draws[:, 0] - 1, 2 * torch.pi * draws[:, 1]  # [count, mode]
    angle = 2 * torch.pi * torch.arange(mesh.num_nodes, dtype=torch.float64) / mesh.num_nodes
    mode = torch.arange(1, config.num_modes + 1, dtype=torch.float64)
    u = torch.einsum("ck,ckn->cn", amplitude, torch.sin(mode[:, None] * angle + phase[:, :, None]))
    return u / u.abs().amax(dim=1, keepdim=True)
