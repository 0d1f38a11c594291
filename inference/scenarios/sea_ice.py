"""Northern sea that is cold enough for lasting ice, told from the air above it.

The edge of lasting ice has a yearly mean of about -10 °C: North (1975),
doi:10.1175/1520-0469(1975)032<2033:TOASCM>2.0.CO;2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphs.mesh import Mesh
from inference.scenarios.land import land_share

Array = NDArray[np.float64]
EDGE = 263.15  # [K]
EARTH = 510.1  # area [million km²]
ICE_FREE = 1.0  # below so much [million km²], as AR6 has it of September's ice
KELVIN = {"K": 0.0, "degC": 273.15}  # what is added to a temperature in these units


def northern_sea(mesh: Mesh) -> Array:
    """Return the area of sea around each node [node, million km²], none south of the equator."""
    sea = np.where(mesh.latitudes > 0, (1 - land_share(mesh)) * mesh.areas, 0.0)
    return np.asarray(EARTH * sea / mesh.areas.sum(), np.float64)


def cold_sea(sea: Array, temperature: Array, units: str) -> Array:
    """Return how much of a sea [node] has a yearly mean temperature [..., node] below -10 °C [...]."""
    return np.asarray((temperature + KELVIN[units] < EDGE) @ sea, np.float64)
