"""A picture of a graph: one node's neighbourhood lit up on its mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphs.atomic_file import atomic_file
from graphs.graph import Graph
from graphs.mesh import Mesh

MOST_EDGES = 20_000  # drawn in the background; more would be a grey block


def draw_graph(graph: Graph, mesh: Mesh, output: Path) -> None:
    """Draw the mesh, its edges, and in colour the edges that reach one node in the middle."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    on_ring = mesh.domain.kind == "ring"
    if on_ring:
        places, middle = mesh.positions, 0
    else:
        places = np.stack([(mesh.longitudes + 180.0) % 360.0 - 180.0, mesh.latitudes], axis=1)
        centre = (places.min(axis=0) + places.max(axis=0)) / 2
        middle = int(np.argmin(((places - centre) ** 2).sum(axis=1)))
    senders, receivers = graph.edge_index.cpu().numpy()
    lines = np.stack([places[senders], places[receivers]], axis=1)  # [edge, end, coordinate]
    wrapped = np.abs(lines[:, 0, 0] - lines[:, 1, 0]) > 180.0  # across the date line, no line to draw
    figure = Figure(figsize=(7, 6.5 if on_ring else 5), layout="constrained")
    axes = figure.add_subplot()
    if len(lines) <= MOST_EDGES:
        axes.add_collection(LineCollection(list(lines[~wrapped]), colors="0.8", linewidths=0.5, zorder=1))
    axes.scatter(places[:, 0], places[:, 1], s=6, color="0.35", zorder=2, linewidths=0)
    near = (receivers == middle) & ~wrapped
    axes.add_collection(LineCollection(list(lines[near]), colors="#0072B2", linewidths=1.5, zorder=3))
    axes.scatter(places[senders[near], 0], places[senders[near], 1], s=22, color="#0072B2", zorder=4, label="senders")
    axes.scatter(places[middle, 0], places[middle, 1], s=40, color="#D55E00", zorder=5, label="receiver")
    if on_ring:
        axes.set_aspect("equal")
        axes.set_axis_off()
    else:
        axes.set_aspect(1.0 / max(np.cos(np.radians(places[:, 1].mean())), 0.2))
        axes.set_xlabel("longitude [degrees east]")
        axes.set_ylabel("latitude [degrees north]")
    axes.set_title(f"{mesh.describe()}: {graph.num_edges} edges, {int(near.sum())} reach the receiver shown")
    axes.legend(loc="upper right", framealpha=1.0)
    with atomic_file(output) as part:
        figure.savefig(part, dpi=150, format="png")
