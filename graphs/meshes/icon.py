"""Triangle centres as nodes, as the ICON model has them."""

from __future__ import annotations

import numpy as np

from graphs.geometry import triangle_areas
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.icosphere import icosphere


def icon(level: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the circumcentres of the 20 · 4^level triangles of an icosphere; areas are the triangles'.

    As the cells of ICON's grids R1B`level` (Zängl et al. 2015, https://doi.org/10.1002/qj.2378), but turned so that
    one lies on each pole, and without the optimisation that evens them out.
    """
    sphere = icosphere(level, radius)
    assert sphere.faces is not None
    a, b, c = np.moveaxis(sphere.positions[sphere.faces], 1, 0)
    centres = np.cross(b - a, c - a)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    areas = triangle_areas(a, b, c)
    return Mesh(centres, areas / areas.sum(), (len(areas),), Domain("sphere", float(radius)))
