"""The interpolation that a name chooses."""

from __future__ import annotations

from graphs.errors import MeshcastError
from graphs.interpolation.bilinear import bilinear, nearest
from graphs.interpolation.conservative import conservative
from graphs.interpolation.weights import Interpolation, Method
from graphs.mesh import Mesh

METHODS = {"bilinear": bilinear, "conservative": conservative, "nearest": nearest}


def interpolation(method: Method, source: Mesh, target: Mesh) -> Interpolation:
    """Return the interpolation of this method between two meshes of the sphere."""
    if method not in METHODS:
        raise MeshcastError(f"Interpolation is bilinear, conservative or nearest, not {method!r}.")
    return METHODS[method](source, target)
