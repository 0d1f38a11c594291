"""The interpolation that a name chooses."""

from __future__ import annotations

from graphs.errors import MeshcastError
from graphs.interpolation.bilinear import bilinear, nearest
from graphs.interpolation.conservative import conservative
from graphs.interpolation.weights import Interpolation, Method
from graphs.mesh import Mesh


def interpolation(method: Method, source: Mesh, target: Mesh) -> Interpolation:
    """Return the interpolation of this method between two meshes of the sphere."""
    match method:
        case "bilinear":
            return bilinear(source, target)
        case "conservative":
            return conservative(source, target)
        case "nearest":
            return nearest(source, target)
        case _:
            raise MeshcastError(f"Interpolation is bilinear, conservative or nearest, not {method!r}.")
