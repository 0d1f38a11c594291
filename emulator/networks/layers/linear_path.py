"""A linear map from the fields around each node to its change, beside what a network makes of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.constants import constant, without_autocast
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


class LinearPath(nn.Module):
    """y_i = Σ_d W_d f_(i + d) over the displacements d up to `reach` nodes: a convolution, the same at every node.

    Linear physics with constant coefficients is such a map, and is exact where the reach is long enough. On a ring
    displacements are hops, and a reach of half the nodes is the whole ring; on a grid of latitudes and longitudes they
    are rows and columns, up to `reach` of each. Beyond the edge of an area, and over a pole, nothing is received.

    What is learned is not W_d but its coefficients in an orthonormal Fourier basis of the displacements. Fields are
    smooth, so that neighbours are nearly the same and gradient descent on W_d takes for ever; each coefficient meets
    waves of nearly one length, on the whole ring of one, and an optimiser that scales every weight's step by its own
    gradients, as Adam does, learns strong and weak waves equally fast. With noise on its input it learns to damp the
    waves that the data lack. All coefficients start at zero.

    num_fields: columns of the features that are the fields; they come first.
    coefficients: [output · field · rows · columns], in one dimension so that Muon leaves them to AdamW.
    Raises MeshcastError where the mesh has no displacements that all nodes share, or the reach is too long for it.
    """

    def __init__(self, mesh: Mesh, reach: int, num_fields: int, num_outputs: int) -> None:
        super().__init__()
        rows, columns = displacements(mesh, reach)
        self.grid = mesh.shape if mesh.structured else (1, mesh.num_nodes)
        self.periodic = mesh.domain.periodic
        self.rows, self.columns = (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))
        self.sizes = num_outputs, num_fields, len(rows), len(columns)
        self.over_rows, self.over_columns = constant(fourier_basis(rows)), constant(fourier_basis(columns))
        self.coefficients = nn.Parameter(torch.zeros(int(np.prod(self.sizes))))

    def forward(self, features: Tensor) -> Tensor:
        """Return [batch, node, output] from [batch, node, field and others], in the precision of the features."""
        outputs, fields, _, _ = self.sizes
        with without_autocast(features):  # a few digits would not do for what is to be exact
            values = features[..., :fields].transpose(1, 2).reshape(-1, fields, *self.grid)
            west, east = -self.columns[0], self.columns[1]
            mode = "circular" if self.periodic else "constant"
            values = nn.functional.pad(values, (west, east, 0, 0), mode=mode)
            values = nn.functional.pad(values, (0, 0, -self.rows[0], self.rows[1]))
            received = nn.functional.conv2d(values, self.kernel().to(values.dtype))
            return received.reshape(len(received), outputs, -1).transpose(1, 2)

    def kernel(self) -> Tensor:
        """Return W_d as [output, field, row, column], displacements in ascending order."""
        return self.over_rows.T @ self.coefficients.view(self.sizes) @ self.over_columns

    @torch.no_grad()
    def set_kernel(self, kernel: Tensor) -> None:
        """Set the coefficients so that W_d is `kernel` [output, field, row, column]."""
        kernel = kernel.to(self.coefficients)
        self.coefficients.copy_((self.over_rows @ kernel @ self.over_columns.T).reshape(-1))


def displacements(mesh: Mesh, reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the displacements in rows and in columns, ascending; on a ring zero rows and, as columns, hops.

    A reach of half a ring with an even number of nodes counts the node opposite once.
    """
    around = mesh.domain.periodic
    if mesh.domain.kind != "ring" and not mesh.structured:
        raise MeshcastError(
            f"emulator.linear_reach needs displacements that all nodes share, as on a ring or a grid of latitudes and "
            f"longitudes, but this is a {mesh.describe()}. Remove linear_reach, or remap the data to a grid."
        )
    rows, columns = mesh.shape if mesh.structured else (1, mesh.num_nodes)
    longest = columns // 2 if around else columns - 1
    if not 1 <= reach <= longest:
        raise MeshcastError(
            f"emulator.linear_reach on a {mesh.describe()} must lie in 1 to {longest}, "
            f"{'half way around' if around else 'one less than its columns'}, but it is {reach}."
        )
    up = min(reach, rows - 1)
    first = 1 - reach if around and 2 * reach == columns else -reach
    return np.arange(-up, up + 1), np.arange(first, reach + 1)


def fourier_basis(displacements: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return orthonormal waves [wave, displacement] over a row of displacements, from the longest to the shortest.

    A constant, then cos and sin 2π k d / n of each whole wavenumber k below n / 2, n the number of displacements, then
    for an even n the alternating signs.
    """
    number = len(displacements)
    angle = 2.0 * np.pi * displacements / number
    waves = [np.full(number, number**-0.5)]
    for k in range(1, (number + 1) // 2):
        waves += [np.sqrt(2.0 / number) * np.cos(k * angle), np.sqrt(2.0 / number) * np.sin(k * angle)]
    if number % 2 == 0:
        waves.append(np.cos(np.pi * displacements) / np.sqrt(number))
    return np.stack(waves)
