"""How long graphs take to build, and how much memory: a multi-mesh, and a 0.25-degree grid linked to it.

python benchmarks/graph_building.py [--level 6] [--spacing 0.25] [--repeat 3]

Prints JSON. Times are the best of the repeats, from nothing to graphs with features, by the clock and of the cores
(which other work on the machine changes less); memory is the peak of the process
above what its imports hold. A search of the 3 nearest mesh nodes of every grid point, alone, stands beside:
scikit-learn's where it is installed, and scipy's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

NEIGHBOURS = 3
Part = tuple[dict[str, Any], Callable[[], object]]


def multi_mesh(level: int, spacing: float) -> Part:
    """An icosphere of this level with its multi-mesh and its features."""
    from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
    from graphs.meshes import icosphere as levels
    from graphs.meshes.icosphere import icosphere

    def build() -> object:
        levels._refined.cache_clear()  # from nothing every time
        return build_graphs(GraphConfig(MultiMeshEdges()), icosphere(level))

    graph = build_graphs(GraphConfig(MultiMeshEdges()), icosphere(level)).processor
    return {"nodes": graph.num_receivers, "edges": graph.num_edges}, build


def grid_to_mesh_and_back(level: int, spacing: float) -> Part:
    """A grid of latitudes and longitudes with encoder, processor and decoder."""
    from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
    from graphs.meshes import icosphere as levels
    from graphs.meshes.grids import LatLonGrid, build_grid
    from graphs.meshes.icosphere import IcosphereMesh

    grid = LatLonGrid(spacing=spacing)
    config = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=level))

    def build() -> object:
        levels._refined.cache_clear()
        return build_graphs(config, build_grid(grid))

    mesh = build_grid(grid)
    edges = {name: graph.num_edges for name, graph in build_graphs(config, mesh).named().items()}
    return {"grid": list(mesh.shape), "edges": edges}, build


def scipy_neighbours(level: int, spacing: float) -> Part:
    """scipy's k-d tree: the nearest mesh nodes of every grid point, nothing else."""
    from scipy.spatial import cKDTree

    mesh, grid = _positions(level, spacing)
    return {"neighbours": NEIGHBOURS}, lambda: cKDTree(mesh).query(grid, k=NEIGHBOURS)


def sklearn_neighbours(level: int, spacing: float) -> Part:
    """scikit-learn's search of the same neighbours."""
    from sklearn.neighbors import NearestNeighbors

    mesh, grid = _positions(level, spacing)
    return {"neighbours": NEIGHBOURS}, lambda: NearestNeighbors(n_neighbors=NEIGHBOURS).fit(mesh).kneighbors(grid)


def _positions(level: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    from graphs.meshes.grids import LatLonGrid, build_grid
    from graphs.meshes.icosphere import icosphere

    return icosphere(level).positions, build_grid(LatLonGrid(spacing=spacing)).positions


PARTS = {part.__name__: part for part in (multi_mesh, grid_to_mesh_and_back, scipy_neighbours, sklearn_neighbours)}


def measure(name: str, level: int, spacing: float, repeat: int) -> dict[str, Any]:
    """One part, in this process, so that the peak of memory is its own."""
    import torch  # noqa: F401, before the first look at memory

    import graphs.edges.build
    import graphs.meshes.grids  # noqa: F401

    before = _peak_mib()
    about, build = PARTS[name](level, spacing)
    walls, cores = [], []
    for _ in range(repeat):
        wall, core = perf_counter(), process_time()
        build()
        walls.append(perf_counter() - wall)
        cores.append(process_time() - core)
    times = {"seconds": round(min(walls), 4), "core_seconds": round(min(cores), 4)}
    return about | times | {"peak_mib": round(_peak_mib() - before)}


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # a process inherits the peak that `getrusage` tells from the one that started it
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", type=int, default=6, help="of the icosphere")
    parser.add_argument("--spacing", type=float, default=0.25, help="of the grid, in degrees")
    parser.add_argument("--repeat", type=int, default=3, help="the best counts")
    parser.add_argument("--only", choices=PARTS, help="measure one part, in this process")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only, given.level, given.spacing, given.repeat)))
        return
    report: dict[str, Any] = {
        "level": given.level,
        "spacing_degrees": given.spacing,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    for name in PARTS:
        if name == "sklearn_neighbours" and find_spec("sklearn") is None:
            report[name] = "scikit-learn is not installed; scipy_neighbours stands in"
            continue
        command = [sys.executable, __file__, "--only", name]
        command += ["--level", str(given.level), "--spacing", str(given.spacing), "--repeat", str(given.repeat)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report[name] = json.loads(done.stdout)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
