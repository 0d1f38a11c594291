"""Fields of a file on a grid of the whole sphere, as spherical harmonics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.harmonics.basis import truncated
from graphs.harmonics.nodes import NodeProjection
from graphs.mesh import Mesh


def coefficients_on(mesh: Mesh, values: Array, truncation: int, what: str) -> Tensor:
    """Return the coefficients [order, offset, ...] up to `truncation` of values [..., node] of a global grid.

    Degrees that the grid does not hold are zero.

    what: the values, for messages: `height of era.nc`.
    Raises MeshcastError where the mesh is no grid, or does not cover the sphere, or where values are missing.
    """
    if not (mesh.whole_sphere and mesh.structured):
        raise MeshcastError(
            f"{what}: a planet's ground and its flow at the start need a grid of the whole sphere, but this is a "
            f"{mesh.describe()}."
        )
    if not np.isfinite(values).all():
        raise MeshcastError(
            f"{what}: {np.count_nonzero(~np.isfinite(values)):,} of {values.size:,} values are missing, but a planet's "
            "ground and its flow at the start have none."
        )
    rows, columns = mesh.shape
    held = min(truncation, 2 * rows // 3, (columns - 1) // 3)
    return truncated(NodeProjection(mesh, held).coefficients(torch.from_numpy(values)), truncation)
