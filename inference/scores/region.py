"""Regions of the sphere that a verification is confined to: named ones, and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emulator.foundation.configuration_faults import nearest
from graphs.errors import MeshcastError
from graphs.geometry import EDGE, Index, between_meridians
from graphs.mesh import Domain, Mesh


@dataclass(frozen=True)
class Region:
    """All places between two latitudes and two meridians, ends included.

    north, south: latitudes [degrees].
    west, east: longitudes [degrees]; the box reaches from west eastward to east, across the date line too.
    """

    name: str
    north: float
    west: float
    south: float
    east: float

    def __str__(self) -> str:
        """Return the name and its bounds."""
        around = self.east - self.west >= 360.0
        across = "" if around else f", {_degrees(self.west, 'W', 'E')} to {_degrees(self.east, 'W', 'E')}"
        return f"{self.name} ({_degrees(self.north, 'S', 'N')} to {_degrees(self.south, 'S', 'N')}{across})"

    def nodes(self, mesh: Mesh) -> Index:
        """Return the nodes of a mesh within; raise MeshcastError where none that is scored is."""
        if mesh.domain.kind == "ring":
            raise MeshcastError(f"The region {self} is of the sphere, but the truth lies on a {mesh.describe()}.")
        latitude, width = mesh.latitudes, self.east - self.west
        beside = np.maximum(latitude - self.north, self.south - latitude)
        within = (beside <= EDGE) & between_meridians(mesh.longitudes, self.west, width)
        nodes = np.flatnonzero(within & (mesh.weights > 0))
        if not len(nodes):
            raise MeshcastError(
                f"No node lies in the region {self}: the {mesh.describe()} reaches from {latitude.max():.5g} to "
                f"{latitude.min():.5g} degrees north. Choose a larger box, or one that the data cover."
            )
        return nodes


# World Meteorological Organization, Manual on the Global Data-processing and Forecasting System (WMO-No. 485),
# appendix 2.2.34, areas of verification; Trenberth (1997), doi:10.1175/1520-0477(1997)078<2771:TDOENO>2.0.CO;2.
REGIONS = {
    region.name: region
    for region in (
        Region("northern-extratropics", 90.0, 0.0, 20.0, 360.0),
        Region("tropics", 20.0, 0.0, -20.0, 360.0),
        Region("southern-extratropics", -20.0, 0.0, -90.0, 360.0),
        Region("northern-polar", 90.0, 0.0, 60.0, 360.0),
        Region("southern-polar", -60.0, 0.0, -90.0, 360.0),
        Region("europe", 70.0, -10.0, 25.0, 28.0),
        Region("asia", 65.0, 60.0, 25.0, 145.0),
        Region("north-america", 60.0, -145.0, 25.0, -50.0),
        Region("australia", -10.0, 90.0, -55.0, 180.0),
        Region("nino-3.4", 5.0, -170.0, -5.0, -120.0),
    )
}


def region_of(name: str | None, box: str | None) -> Region | None:
    """Return the region of a name or of a box `N,W,S,E` [degrees], None where neither is given."""
    if name is not None and box is not None:
        raise MeshcastError(f"Give --region {name} or --box {box}, not both.")
    if name is not None:
        if name not in REGIONS:
            raise MeshcastError(
                f"There is no region {name}{nearest(name, REGIONS) or '.'} There are {', '.join(REGIONS)}; any other "
                "is a --box N,W,S,E."
            )
        return REGIONS[name]
    return None if box is None else _box(box)


def _box(text: str) -> Region:
    try:
        north, west, south, east = (float(number) for number in text.replace("/", ",").split(","))
    except ValueError:
        raise MeshcastError(f"--box takes N,W,S,E in degrees, as 70,-10,25,28, but got {text!r}.") from None
    if not (-90.0 <= south < north <= 90.0 and abs(west) <= 360.0 and abs(east) <= 360.0):
        raise MeshcastError(
            f"--box {text} is no box: N must lie north of S, both within -90 to 90, W and E within -360 to 360."
        )
    if west == east:
        raise MeshcastError(f"--box {text} has no width: from W eastward to E; all around is -180 to 180.")
    width = east - west if 0 < east - west <= 360.0 else (east - west) % 360.0 or 360.0
    return Region("box", north, west, south, west + width)


def cut_mesh(mesh: Mesh, nodes: Index) -> Mesh:
    """Return the nodes as a mesh of their own, each with its share of the area that they cover together."""
    areas = mesh.weights[nodes]
    positions, domain = mesh.positions[nodes], Domain("limited_area", mesh.domain.size)
    return Mesh(positions, areas / areas.sum(), (len(nodes),), domain)


def _degrees(value: float, below: str, above: str) -> str:
    value = (value + 180.0) % 360.0 - 180.0 if above == "E" and not -180.0 <= value <= 180.0 else value
    return f"{abs(value):g} {below if value < 0 else above}"
