"""The ground of a planet: hills of a shape, or heights from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emulator.data.files import static_fields_of_files
from emulator.physics.global_grid import coefficients_on
from graphs.errors import MeshcastError


@dataclass(frozen=True)
class Mountain:
    """A hill on the sphere.

    height: of its top [m]. latitude, longitude: of its top [degrees]. radius: where it ends, or falls to 1/e [degrees].
    shape: `cone` of Williamson et al. (1992), eq. 134, round in latitude and longitude, or `bell`, round on the sphere.
    """

    height: float = 2000.0
    latitude: float = 30.0
    longitude: float = 270.0
    radius: float = 20.0
    shape: Literal["cone", "bell"] = "cone"

    def heights(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return heights [m] at latitudes and longitudes [radians]."""
        top, extent = np.radians([self.latitude, self.longitude]), np.radians(self.radius)
        away = (longitude - top[1] + np.pi) % (2 * np.pi) - np.pi
        if self.shape == "cone":
            return self.height * np.maximum(0.0, 1.0 - np.hypot(away, latitude - top[0]) / extent)
        cosine = np.sin(latitude) * np.sin(top[0]) + np.cos(latitude) * np.cos(top[0]) * np.cos(away)
        return self.height * np.exp(-((np.arccos(np.clip(cosine, -1.0, 1.0)) / extent) ** 2))


@dataclass(frozen=True)
class Orography:
    """Heights of the ground from a file, negative ones taken as they are.

    source: a NetCDF or GRIB file with a global grid. variable: its name there [m].
    exponent: heights z become sign(z) |z|^exponent, measured from the lowest; planetswe of The Well (Ohana et al. 2024,
        arXiv:2412.00568) takes 15/16.
    """

    source: str
    variable: str = "orog"
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not self.exponent > 0:
            raise MeshcastError(f"The exponent of an orography must be positive, but is {self.exponent:g}.")

    def coefficients(self, truncation: int) -> Tensor:
        """Return the heights' coefficients [order, offset] [m], as far as the file's grid and `truncation` hold them.

        Raises MeshcastError where the file cannot be read, does not cover the sphere or holds no such heights.
        """
        fields = static_fields_of_files([self.source])
        heights = fields.read(slice(0, 1), [self.variable])[0, 0, :, 0].astype(np.float64)
        raised = np.sign(heights) * np.abs(heights) ** self.exponent
        found = coefficients_on(fields.mesh, raised, truncation, f"{self.variable} of {self.source}")
        found[0, 0] -= raised.min()
        return found
