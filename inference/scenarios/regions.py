"""Regions of the Earth and their means: those of AR6, hemispheres, land and sea, boxes, and polygons from a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from emulator.foundation.configuration_faults import nearest
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.scenarios.land import land_share

Array = NDArray[np.float64]
Surface = Literal["land", "sea", "both"]
FILE = Path(__file__).parent / "files/ar6_regions.csv"
AR6_SOURCE = "AR6 reference regions, version 4: Iturbide et al. 2020, doi:10.5194/essd-12-2959-2020, CC BY 4.0"
FEWEST = 3  # cells of a region that gets a number
WHOLE = ((-180.0, -90.0), (180.0, -90.0), (180.0, 90.0), (-180.0, 90.0))
FORMS = (
    "ar6, global, land, sea, north, south, an acronym such as MED, a box NORTH/WEST/SOUTH/EAST, or a GeoJSON file of "
    "polygons"
)


@dataclass(frozen=True)
class Region:
    """A part of the Earth.

    outlines: polygons by their corners, longitude from -180 to 180 and latitude [degrees]. surface: what of it counts.
    """

    key: str
    name: str
    outlines: tuple[tuple[tuple[float, float], ...], ...]
    surface: Surface = "both"


@dataclass(frozen=True, eq=False)
class RegionMeans:
    """How means over regions are taken on a mesh.

    regions: those that get a number. weights: [region, node], of sum one. cells: [region] nodes that count.
    left_out: why others get none, by key.
    """

    regions: tuple[Region, ...]
    weights: Array
    cells: NDArray[np.int64]
    left_out: dict[str, str]

    def of(self, values: Array) -> Array:
        """Return means [..., region] of values [..., node], of which those that do not count may be no number."""
        counts = (self.weights > 0).any(axis=0)
        return np.asarray(values[..., counts] @ self.weights[:, counts].T, np.float64)


@cache
def ar6_regions() -> tuple[Region, ...]:
    """Return the 58 climate reference regions of AR6."""
    found: dict[str, Region] = {}
    with open(FILE, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            corners = tuple((float(x), float(y)) for x, y in (corner.split() for corner in row["vertices"].split(";")))
            before = found[row["acronym"]].outlines if row["acronym"] in found else ()
            surface: Surface = "land" if row["surface"] == "land" else "sea" if row["surface"] == "sea" else "both"
            found[row["acronym"]] = Region(row["acronym"], row["name"], (*before, corners), surface)
    return tuple(found.values())


def whole_regions() -> tuple[Region, ...]:
    """Return the globe, its land, its sea and its halves."""
    north = ((-180.0, 0.0), (180.0, 0.0), (180.0, 90.0), (-180.0, 90.0))
    south = ((-180.0, -90.0), (180.0, -90.0), (180.0, 0.0), (-180.0, 0.0))
    return (
        Region("global", "the globe", (WHOLE,)),
        Region("land", "all land", (WHOLE,), "land"),
        Region("sea", "all sea", (WHOLE,), "sea"),
        Region("north", "northern hemisphere", (north,)),
        Region("south", "southern hemisphere", (south,)),
    )


def read_regions(texts: Sequence[str]) -> tuple[Region, ...]:
    """Return the regions that texts name; raise MeshcastError for one that is not known, with the nearest that is."""
    known = (*ar6_regions(), *whole_regions())  # `sea` is all of it, `SEA` South-East Asia
    named = {name.lower(): region for region in known for name in (region.name, region.key)}
    named |= {region.key: region for region in known}
    found: dict[str, Region] = {}
    for text in texts:
        if text.lower() == "ar6":
            some: tuple[Region, ...] = ar6_regions()
        elif found_so := named.get(text) or named.get(text.lower()):
            some = (found_so,)
        elif text.count("/") == 3 and not Path(text).exists():
            some = (_box(text),)
        elif Path(text).suffix.lower() in (".geojson", ".json"):
            some = _polygons(Path(text))
        else:
            raise MeshcastError(f"There is no region {text!r}{nearest(text.lower(), named) or '.'} Expected {FORMS}.")
        for region in some:
            if region.key in found and found[region.key] != region:
                raise MeshcastError(f"Two regions are called {region.key}. Name one of them otherwise.")
            found[region.key] = region
    return tuple(found.values())


def region_means(regions: Sequence[Region], mesh: Mesh, there: NDArray[np.bool_] | None = None) -> RegionMeans:
    """Return how means over regions are taken: of nodes inside by their area, of land or sea by its share of it.

    there: [node] which have values; all by default. A region with fewer than three such cells gets no number.
    """
    there = np.ones(mesh.num_nodes, dtype=bool) if there is None else there
    share = land_share(mesh)
    by_surface = {"land": share, "sea": 1 - share, "both": np.ones(mesh.num_nodes)}
    points = np.stack([(mesh.longitudes + 180) % 360 - 180, mesh.latitudes], axis=1)
    kept, weights, cells, left_out = [], [], [], {}
    for region in regions:
        inside = np.zeros(mesh.num_nodes, dtype=bool)
        for outline in region.outlines:
            inside |= outline == WHOLE or _contains(outline, points)
        part = np.where(inside & there, by_surface[region.surface], 0.0)
        count = int((part >= 0.5).sum())
        if count < FEWEST:
            of = "" if region.surface == "both" else f", {region.surface} for the most part,"
            left_out[region.key] = (
                f"{count} cell{'s' * (count != 1)} of the {mesh.describe()}{of} lie{'s' * (count == 1)} in "
                f"{region.name}, but a mean takes {FEWEST}"
            )
            continue
        weight = mesh.areas * part
        kept.append(region)
        weights.append(weight / weight.sum())
        cells.append(count)
    return RegionMeans(tuple(kept), np.array(weights).reshape(-1, mesh.num_nodes), np.array(cells, np.int64), left_out)


def _contains(outline: tuple[tuple[float, float], ...], points: Array) -> NDArray[np.bool_]:
    """Return which points [point, 2] lie in a polygon; on the date line, they may lie on either side of it."""
    polygon = Outline(outline)
    edge = np.abs(points[:, 0] + 180) < 1e-9
    east = np.where(edge[:, None], [[180.0, 0.0]] + points * [0.0, 1.0], points)
    radius = 1e-9  # a node on an edge belongs to one side or the other
    return np.asarray(polygon.contains_points(points, radius=radius) | polygon.contains_points(east, radius=radius))


def _box(text: str) -> Region:
    try:
        north, west, south, east = (float(part) for part in text.split("/"))
    except ValueError:
        raise MeshcastError(f"A box is NORTH/WEST/SOUTH/EAST in degrees, such as 72/-10/35/40, not {text!r}.") from None
    if not (-90 <= south < north <= 90 and all(-180 <= side <= 360 for side in (west, east)) and west != east):
        raise MeshcastError(
            f"The box {text} goes from {south:g} to {north:g} N and {west:g} to {east:g} E. Give its north first, "
            "within -90 to 90, then its west, its south and its east, within -180 to 360."
        )
    if east - west >= 360:
        west, east = -180.0, 180.0
    else:
        west, east = ((side + 180) % 360 - 180 for side in (west, east))
        east = 180.0 if east == -180.0 else east
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    outlines = tuple(((a, south), (b, south), (b, north), (a, north)) for a, b in spans)
    return Region(text, f"the box {text}", outlines)


def _polygons(path: Path) -> tuple[Region, ...]:
    """Return the polygons of a GeoJSON file, each feature a region called by its `name`, `id` or number."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MeshcastError(f"Cannot read the regions of {path}: {error}") from None
    features = content.get("features", [content]) if isinstance(content, dict) else []
    regions = []
    for number, feature in enumerate(features):
        geometry = feature.get("geometry", feature) if isinstance(feature, dict) else {}
        properties = (feature.get("properties") or {}) if isinstance(feature, dict) else {}
        key = str(properties.get("name") or properties.get("id") or f"{path.stem}-{number}")
        regions.append(Region(key, key, _outlines(geometry, path, key)))
    if not regions:
        raise MeshcastError(f"{path} holds no polygon; expected GeoJSON with Polygon or MultiPolygon.")
    return tuple(regions)


def _outlines(geometry: Any, path: Path, key: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise MeshcastError(f"{key} of {path} is {kind or 'no geometry'}, expected a Polygon or MultiPolygon.")
    parts = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    if any(isinstance(part, list) and len(part) > 1 for part in parts):
        raise MeshcastError(f"{key} of {path} has a hole, which a region cannot have. Cut it into parts.")
    try:
        outlines = tuple(tuple((float(x), float(y)) for x, y, *_ in part[0]) for part in parts)
    except (TypeError, ValueError, IndexError, KeyError):
        raise MeshcastError(f"{key} of {path} has corners that are no pairs of longitude and latitude.") from None
    corners = np.array([corner for outline in outlines for corner in outline])
    if not (np.abs(corners[:, 0]).max() <= 180 and np.abs(corners[:, 1]).max() <= 90):
        raise MeshcastError(f"{key} of {path} has corners beyond 180 degrees of longitude or 90 of latitude.")
    return outlines
